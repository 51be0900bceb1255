"""What the stages share: processes, mixed-precision optimisation, means for the log.

Weights and activations are bfloat16 where the device multiplies in it, the optimiser's copy is
float32. On CPUs one process with one thread per core is faster than one process with all cores; on
a GPU there is a single process.
Knows nothing of the models.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from . import muon


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the processes that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def dtype(self) -> torch.dtype:
        """Return the type to train in: CPUs without AVX-512 are ten times as slow in bfloat16."""
        is_slow = self.device.type == "cpu" and not _has_avx512()
        return torch.float32 if is_slow else torch.bfloat16

    def add_up(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over the processes."""
        if self.count > 1:
            dist.all_reduce(tensor)


def run_workers(train: Callable[..., None], *args: object) -> None:
    """Call `train(worker, *args)` in a process per CPU core, or once if there is a CUDA device."""
    if torch.cuda.is_available():
        train(Worker(0, 1, torch.device("cuda")), *args)
        return
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    count = min(count, 8)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if count == 1:
        train(Worker(0, 1, torch.device("cpu")), *args)
    else:
        mp.spawn(_start_worker, (count, port, train, args), nprocs=count)


def _start_worker(
    rank: int, count: int, port: int, train: Callable[..., None], args: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    train(Worker(rank, count, torch.device("cpu")), *args)
    dist.destroy_process_group()


class Optimiser:
    """AdamW over float32 masters of the parameters, with clipping and a running average.

    inner: those of the parameters that are moved by Muon instead
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        ema_decay: float,
        weight_decay: float,
        inner: Iterable[nn.Parameter] = (),
    ) -> None:
        self.live = list(parameters)
        self.masters = [p.detach().float().clone() for p in self.live]
        self.averages = [m.clone() for m in self.masters]
        self.ema_decay = ema_decay
        chosen = set(map(id, inner))
        pairs = list(zip(self.live, self.masters, strict=True))
        self._muon = muon.Muon([m for p, m in pairs if id(p) in chosen], weight_decay)
        others = [m for p, m in pairs if id(p) not in chosen]
        groups = [
            {"params": [m for m in others if m.dim() > 1], "weight_decay": weight_decay},
            {"params": [m for m in others if m.dim() <= 1], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW(groups, betas=(0.9, 0.98), foreach=True)

    @torch.no_grad()
    def step(self, worker: Worker, lr: float, step: int) -> None:
        """Average the gradients over the processes, clip their norm to 1, move, and forget them."""
        flat = torch.cat([_gradient(p).reshape(-1).float() for p in self.live])
        worker.add_up(flat)
        flat /= worker.count
        flat *= torch.clamp(1.0 / (flat.norm() + 1e-6), max=1.0)
        pieces = flat.split([m.numel() for m in self.masters])
        for master, piece in zip(self.masters, pieces, strict=True):
            master.grad = piece.view_as(master)
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()
        if self._muon.matrices:
            moves = self._muon.moves(worker.rank, worker.count)
            worker.add_up(moves)
            self._muon.move(moves, lr)
        torch._foreach_copy_(self.live, self.masters)
        decay = min(self.ema_decay, 1 - 1 / (1 + step / 8))
        torch._foreach_lerp_(self.averages, self.masters, 1 - decay)
        for parameter in self.live:
            parameter.grad = None

    @torch.no_grad()
    def load_averages(self) -> None:
        """Put the running averages in the model's place; the training cannot go on after that."""
        for parameter, average in zip(self.live, self.averages, strict=True):
            parameter.data = average.clone()

    def state_dict(self) -> dict[str, object]:
        return {
            "masters": self.masters,
            "averages": self.averages,
            "adamw": self._adamw.state_dict(),
            "momenta": self._muon.momenta,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        kept = {"masters": self.masters, "averages": self.averages, "momenta": self._muon.momenta}
        for name, tensors in kept.items():
            for tensor, saved in zip(tensors, state[name], strict=True):  # type: ignore[call-overload]
                tensor.copy_(saved)
        torch._foreach_copy_(self.live, self.masters)
        self._adamw.load_state_dict(state["adamw"])  # type: ignore[arg-type]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def use_channels_last(model: nn.Module) -> None:
    """Lay the weights of 2D convolutions out the way that CPUs and GPUs run fastest.

    Without AVX-512 the gradients of convolutions are faster in the usual layout.
    """
    if next(model.parameters()).device.type == "cpu" and not _has_avx512():
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


class RunningMeans:
    """Averages of the last few hundred values of each name."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self._values[name] = 0.99 * self._values.get(name, value) + 0.01 * value

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in self._values.items()}
