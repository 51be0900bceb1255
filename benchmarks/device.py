"""Measure a device's peak, the work of a render, and the share of time that the device idles.

The peak is that of a large matrix product. On the CPU, torch's counter omits the attention itself,
a few percent of the work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from order import Order

SAMPLE_MILLISECONDS = 100
MATRIX = {"cpu": 2048, "cuda": 8192}
PRODUCTS = 9


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, so that all of its memory is freed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *arguments).result()


def work_and_peak(order: Order) -> tuple[float, float]:
    """Return `render_tflop` and `peak_tflops`."""
    return render_tflop(order), peak_tflops()


def peak_tflops() -> float:
    """Return the device's TFLOP per second in the dtype that renders use on it."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    size = MATRIX[device]
    a = torch.randn(size, size, dtype=dtype, device=device)
    seconds = [_product_seconds(a) for _ in range(PRODUCTS)]
    return 2 * size**3 / statistics.median(seconds) / 1e12


def _product_seconds(a: torch.Tensor) -> float:
    import torch

    if a.is_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    a @ a
    if a.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def render_tflop(order: Order) -> float:
    """Return the work of one video in TFLOP, as torch counts it for plain diffusers."""
    import script_loop
    from torch.utils.flop_counter import FlopCounterMode

    one = dataclasses.replace(order, videos=1)
    pipe = script_loop.load(one, offloads=False)
    with FlopCounterMode(display=False) as counter:
        script_loop.render(pipe, *one.prompts[0], one.settings)
    return counter.get_total_flops() / 1e12


def cpu_idle_share(cpu_seconds: float, seconds: float, threads: int) -> float:
    """Return the share of the time of `threads` threads that a process did not use.

    A thread that busy-waits, as OpenMP's do, counts as busy.
    """
    return 1 - cpu_seconds / (seconds * threads)


@contextlib.contextmanager
def gpu_watched(log: Path) -> Iterator[None]:
    """Log the GPU's utilisation with nvidia-smi until the block ends."""
    query = ["--query-gpu=timestamp,utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    with log.open("w") as file:
        watch = subprocess.Popen(
            ["nvidia-smi", *query, f"--loop-ms={SAMPLE_MILLISECONDS}"], stdout=file
        )
        try:
            yield
        finally:
            watch.terminate()
            watch.wait()


def gpu_idle_share(log: str, began: float, ended: float) -> float:
    """Return the share of the time from `began` to `ended` in which the GPU was idle.

    log: nvidia-smi's output.
    began, ended: seconds since the epoch.
    """
    lines = (line.split(", ") for line in log.splitlines())
    samples = ((seconds_since_epoch(at), float(share) / 100) for at, share in lines)
    busy = [share for at, share in samples if began <= at <= ended]
    return 1 - statistics.fmean(busy)


def seconds_since_epoch(stamp: str) -> float:
    """Convert nvidia-smi's local time to seconds since the epoch."""
    return datetime.strptime(stamp, "%Y/%m/%d %H:%M:%S.%f").timestamp()
