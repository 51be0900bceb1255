"""Split a denoiser over several processes, each with a GPU of its own, by its tokens.

That is diffusers' context parallelism, in the way of Ulysses: between attentions each process has a
part of the tokens, in attention all tokens of a part of the heads. Each has all of the weights. All
have to call the pipeline alike. Does not know how the processes are started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import diffusers
import torch
from diffusers.hooks.context_parallel import apply_context_parallel
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh

from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.render.source import ModelSource
from reeldrop.speed.denoisers import NAMES, denoisers

KNOWN = ("WanTransformer3DModel",)
"""The denoisers that render the same when they are split. Diffusers 0.42 has plans for others, too:
with those of LTX and LTX-2 a render fails, and that of Helios is not tried."""

_TIMEOUT = timedelta(minutes=10)
"""How long a process waits for what the others compute, before it counts as lost."""

_ON_THIS_MACHINE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def require_possible(source: ModelSource, index: Mapping[str, Any]) -> None:
    """Check that the denoisers of a model, by its model_index.json, can be split as asked.

    Raises:
        ConfigError: they can't.
    """
    parts = [index[name] for name in NAMES if isinstance(index.get(name), (list, tuple))]
    found = [kind for _, kind in parts if kind is not None]  # an optional part may be missing
    if source.gpus == 1 or (found and all(kind in KNOWN for kind in found)):
        return
    problem = f"{', '.join(found) or 'its denoiser'} can't be split over {source.gpus} GPUs"
    raise _refused(source, problem, f"leave gpus out: only {', '.join(KNOWN)} can")


def require_gpus(source: ModelSource) -> None:
    """Check that there are as many GPUs as asked. Without any, processes of the CPU do as well.

    Raises:
        Unavailable: there are fewer.
    """
    there = torch.cuda.device_count()
    if 0 < there < source.gpus:
        problem = f"it needs {source.gpus} GPUs, and this renderer has {there}"
        raise Unavailable(Mistake(problem, "lower gpus", key=f"{source.key}.gpus"))


def device_of(rank: int) -> dict[str, str]:
    """Return the environment of a process that sees only the GPU of its rank."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(rank)] * (rank + 1) if visible is None else visible.split(",")
    return {"CUDA_VISIBLE_DEVICES": names[rank]} if rank < len(names) else {}


def require_heads(pipe: Any, source: ModelSource) -> None:
    """Check that the heads of attention can be shared equally.

    Raises:
        ConfigError: they can't.
    """
    for part in denoisers(pipe) if source.gpus > 1 else ():
        config: Any = part.config
        heads = config["num_attention_heads"]
        if heads % source.gpus:
            problem = f"{heads} heads of attention can't be shared equally by {source.gpus} GPUs"
            fits = [str(n) for n in range(1, heads + 1) if heads % n == 0]
            raise _refused(source, problem, f"one of {', '.join(fits)}")


def meet(rank: int, of: int, place: str) -> None:
    """Let this process join the others, and wait for them.

    place: a path that all know, of a file that does not exist at first
    """
    for name, value in _ON_THIS_MACHINE.items():
        os.environ.setdefault(name, value)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{place}", rank=rank, world_size=of, timeout=_TIMEOUT
    )


def has_met() -> bool:
    """Return whether this process has joined others."""
    return distributed.is_initialized()


def part() -> None:
    """Leave the other processes, if this one has joined them; all have to."""
    if has_met():
        distributed.destroy_process_group()
        for name, value in _ON_THIS_MACHINE.items():
            if os.environ.get(name) == value:
                del os.environ[name]


def split(pipe: Any) -> None:
    """Split the denoisers of a pipeline over the processes that have met.

    These are the steps of diffusers' `enable_parallelism`, which needs an accelerator.
    """
    rank, of = distributed.get_rank(), distributed.get_world_size()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(0)  # the first that this process sees
    mesh = init_device_mesh(device.type, (1, of), mesh_dim_names=("ring", "ulysses"))
    library: Any = diffusers  # type checkers see stand-ins for these classes
    # Anything: numbers of tokens that can't be shared equally.
    found = library.ContextParallelConfig(ulysses_degree=of, ulysses_anything=True, mesh=mesh)
    config = library.ParallelConfig(context_parallel_config=found)
    config.setup(rank, of, device, mesh=mesh)
    denoiser: Any
    for denoiser in denoisers(pipe):
        for module in denoiser.modules():
            processor: Any = getattr(module, "processor", None)
            if hasattr(processor, "_parallel_config"):
                processor._parallel_config = config
        apply_context_parallel(denoiser, found, denoiser._cp_plan)


@contextlib.contextmanager
def around_each_call(
    pipe: Any, before: Callable[[], None], after: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Act before and after each call of a denoiser of a pipeline, in which processes wait for each
    other. After one that fails, nothing is done.
    """
    hooks = []
    for denoiser in denoisers(pipe):
        hooks.append(denoiser.register_forward_pre_hook(lambda *_: before()))
        hooks.append(denoiser.register_forward_hook(lambda *_: after()))
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def mark() -> Callable[[], bool]:
    """Return a function that returns whether the device has done all that it has been given now."""
    if not torch.cuda.is_available():
        return lambda: True
    event: Any = torch.cuda.Event
    done = event()
    done.record()
    is_done: Callable[[], bool] = done.query
    return is_done


def settle() -> None:
    """Wait for what the device was given; what waits there for other processes has a time limit."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _refused(source: ModelSource, problem: str, remedy: str) -> ConfigError:
    return ConfigError(Mistake(problem, remedy, key=f"{source.key}.gpus"))
