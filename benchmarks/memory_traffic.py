"""Count what a denoising step and the decoding move through memory, without a GPU or weights.

The model has the true shape of ms-1.7b in fp16, on the meta device: shapes and layouts without
values. Each operator is counted as CUDA's kernels would run it one by one; what those do inside is
modelled here:

- group norm has no channels_last kernel before torch 2.14: it copies what is not contiguous, and
  writes contiguously; it reads its input twice
- a convolution runs in channels_last if its input or its weight is so, and copies the other; if
  neither is, cuDNN moves the input, the weight and the output itself; its bias is added afterwards
- what is broadcast is read once; attention and products are not counted, only their FLOPs

    python benchmarks/memory_traffic.py

Prints a table, and a line of JSON for each row. `step` is one denoising step with guidance,
`decoding` that of all videos of a batch, and `profiled` what the profile of 28 November 2026 saw:
two steps and the decoding of eight videos.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import full_size_model
import torch
import torch.nn.functional as F
from diffusers import TextToVideoSDPipeline
from reeldrop.speed import channels_last, fast
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

FRAMES = 16
LATENT_SIZE = 32
TEXT = (77, 1024)
BATCHES = (1, 8)

aten = torch.ops.aten
_COPIES = ("clone", "copy_", "_to_copy")
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_cudnn_attention")
_FREE = ("_unsafe_view", "empty", "empty_like", "new_empty", "empty_strided", "_reshape_alias")
_NORMS = ("native_layer_norm", "mean", "linalg_vector_norm", "addcmul")


@dataclass
class Traffic:
    """What the operators of a run move.

    copies: calls of aten's copy, explicit or inside of other operators
    copied, normalised, elementwise: GB read and written by copies, norms, and all else
    inside_cudnn: GB that cuDNN's own kernels for layouts read and write
    kernels: how many, counted as one for each operator that moves something
    tflop: of products, convolutions and attention
    """

    copies: int = 0
    copied: float = 0.0
    normalised: float = 0.0
    elementwise: float = 0.0
    inside_cudnn: float = 0.0
    kernels: int = 0
    tflop: float = 0.0

    @property
    def moved(self) -> float:
        """GB of all that only moves memory."""
        return self.copied + self.normalised + self.elementwise + self.inside_cudnn

    def plus(self, other: Traffic, times: int = 1) -> Traffic:
        """Return the sum with a number of runs of another."""
        mine, theirs = asdict(self), asdict(other)
        return Traffic(**{name: mine[name] + times * theirs[name] for name in mine})


class Counting(TorchDispatchMode):
    """Counts operators on the meta device as CUDA would run them."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Traffic()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        output = func(*args, **(kwargs or {}))
        if func.is_view or name in _FREE or not _bytes(output):
            return output
        self.calls[name] += 1
        self.found.kernels += 1
        if name == "convolution":
            return self._convolution(output, *args[:3])
        if name == "native_group_norm":
            self._contiguous(args[0])
            self.found.normalised += 2 * _bytes(args[0]) + _bytes(output[0])
            return (torch.empty_like(args[0], memory_format=torch.contiguous_format), *output[1:])
        if name == "native_layer_norm":
            self._contiguous(args[0])
        moved = _bytes(args) + _bytes(output)
        if name in _COPIES:
            self.found.copies += 1
            self.found.copied += moved
        elif name in _NORMS:
            self.found.normalised += moved
        elif name not in _PRODUCTS:
            self.found.elementwise += moved
        return output

    def _convolution(self, output: Any, input: Any, weight: Any, bias: Any) -> torch.Tensor:
        order = torch.channels_last if weight.dim() == 4 else torch.channels_last_3d
        if order in (suggest_memory_format(input), suggest_memory_format(weight)):
            self._contiguous(input, order)
            self._contiguous(weight, order)
            output = torch.empty_like(output, memory_format=order)
        else:
            self.found.inside_cudnn += 2 * (_bytes(input) + _bytes(weight) + _bytes(output))
            output = torch.empty_like(output, memory_format=torch.contiguous_format)
        if bias is not None:
            self.found.kernels += 1
            self.found.elementwise += 2 * _bytes(output)
        return output

    def _contiguous(self, tensor: Any, order: Any = torch.contiguous_format) -> None:
        """Count the copy that an operator makes of what has another layout."""
        if not tensor.is_contiguous(memory_format=order):
            self.calls["copy inside"] += 1
            self.found.kernels += 1
            self.found.copies += 1
            self.found.copied += 2 * _bytes(tensor)


def _bytes(of: Any) -> float:
    """Return the GB of all tensors in arguments, without what is broadcast."""
    return (
        sum(
            tensor.itemsize
            * torch.Size(n for n, s in zip(tensor.shape, tensor.stride(), strict=True) if s).numel()
            for tensor in tree_leaves(of)
            if isinstance(tensor, torch.Tensor)
        )
        / 1e9
    )


def _attention(query: Any, key: Any, value: Any, **_nothing: Any) -> Any:
    """What cuDNN does of `scaled_dot_product_attention`."""
    return aten._scaled_dot_product_cudnn_attention(query, key, value, None, False)[0]


def pipeline() -> Any:
    """Return the denoiser and the VAE of true shape in fp16 as a pipeline, without values."""
    unet, vae = full_size_model.unet().half().eval(), full_size_model.vae().half().eval()
    return TextToVideoSDPipeline(
        vae=vae, text_encoder=None, tokenizer=None, unet=unet, scheduler=None
    )


def plain() -> Any:
    """Return the pipeline as diffusers has it."""
    return pipeline()


def fast_path() -> Any:
    """Return the pipeline with the fast path, before anything is compiled."""
    pipe = pipeline()
    path = fast.FastPath(pipe, fast.resolve({}, "cuda"), "cuda", compiles=False)
    path.begin({"guidance_scale": 9.0})
    return pipe


WAYS: dict[str, Callable[[], Any]] = {"plain": plain, "fast": fast_path}


@contextlib.contextmanager
def counted() -> Iterator[Counting]:
    """Count what runs in the block."""
    with FlopCounterMode(display=False) as flops, Counting() as counting:  # whole operators
        yield counting
    counting.found.tflop = flops.get_total_flops() / 1e12


def step(pipe: Any, batch: int) -> Counting:
    """Count one denoising step of a batch of guided prompts."""
    sample = torch.empty(2 * batch, 4, FRAMES, LATENT_SIZE, LATENT_SIZE, dtype=torch.float16)
    text = torch.empty(2 * batch, *TEXT, dtype=torch.float16)
    time = torch.empty((), dtype=torch.int64)
    with counted() as counting:
        pipe.unet(sample, time, encoder_hidden_states=text, return_dict=False)
    return counting


def decoding(pipe: Any, batch: int) -> Counting:
    """Count the decoding of a batch."""
    latents = torch.empty(batch * FRAMES, 4, LATENT_SIZE, LATENT_SIZE, dtype=torch.float16)
    with counted() as counting:
        pipe.vae.decode(latents)
    return counting


@contextlib.contextmanager
def as_on_cuda() -> Iterator[None]:
    """Make tensors without values in the block, which take the ways of CUDA."""
    with (
        torch.device("meta"),
        torch.no_grad(),
        mock.patch.object(F, "scaled_dot_product_attention", _attention),
        mock.patch.object(channels_last, "is_on_gpu", return_value=True),
    ):
        yield


def rows(way: str) -> Iterator[tuple[dict[str, Any], Counting]]:
    """Count a way in each batch size; the name of what was counted comes with it."""
    with as_on_cuda():
        pipe = WAYS[way]()
        for batch in BATCHES:
            for part in (step, decoding):
                yield {"way": way, "part": part.__name__, "batch": batch}, part(pipe, batch)


def main() -> None:
    """Count, and print a table and lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--calls", action="store_true", help="print the operators, too")
    given = parser.parse_args()
    lines = []
    for way in given.ways or WAYS:
        found = {}
        for name, counting in rows(way):
            found[name["part"], name["batch"]] = counting.found
            lines.append((name, counting.found))
            if given.calls:
                print(name, counting.calls.most_common())
        profiled = found["decoding", BATCHES[-1]].plus(found["step", BATCHES[-1]], 2)
        lines.append(({"way": way, "part": "profiled", "batch": BATCHES[-1]}, profiled))
    heads = ("way", "part", "batch", *asdict(Traffic()), "moved")
    print("".join(f"{head:>13}" for head in heads))
    for name, traffic in lines:
        figures = {**name, **asdict(traffic), "moved": traffic.moved}
        shown = (f"{v:.2f}" if isinstance(v, float) else str(v) for v in figures.values())
        print("".join(f"{one:>13}" for one in shown))
    for name, traffic in lines:
        rounded = {key: round(value, 3) for key, value in asdict(traffic).items()}
        print(json.dumps({**name, **rounded, "moved": round(traffic.moved, 3)}))


if __name__ == "__main__":
    main()
