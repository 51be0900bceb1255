"""The fast path: ways to render the same frames, up to rounding, in less time.

Each way has a switch and applies where a pipeline has the parts for it. Does not load pipelines and
does not render.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import TextToVideoSDPipeline, UNet3DConditionModel
from torch import nn

from reeldrop.base.loras import Loras
from reeldrop.speed import decoding, graphs, lossy, mixed_precision, texts, unet3d
from reeldrop.speed.compiled import Compiled, blocks
from reeldrop.speed.denoisers import denoisers
from reeldrop.speed.forms import Forms
from reeldrop.speed.graphs import Graphs
from reeldrop.speed.lossy import Lossy


@dataclass(frozen=True, slots=True)
class Options:
    """Which ways are wanted, or were taken. config.yaml explains each of them."""

    channels_last: bool = False
    temporal_conv_2d: bool = False
    text_once: bool = False
    guidance_once: bool = False
    fused_qkv: bool = False
    mixed_precision: bool = False
    cached_texts: bool = False
    compile: bool = False
    compile_blocks: bool = False
    cuda_graphs: bool = False


SWITCHES = tuple(field.name for field in dataclasses.fields(Options))
"""Names of the ways, in the order in which `tune` tries them."""

FORMS = {"compile": "compiled", "compile_blocks": "compiled", "cuda_graphs": "recorded"}
"""The ways that make another form of the denoiser, and the name of that form in `Forms.used`."""

_ALL = Options(
    channels_last=True,
    temporal_conv_2d=True,
    text_once=True,
    guidance_once=True,
    fused_qkv=True,
    mixed_precision=True,
    cached_texts=True,
    compile=True,
)
_DEFAULTS = {
    "cpu": dataclasses.replace(_ALL, mixed_precision=mixed_precision.is_native(), compile=False),
    "cuda": dataclasses.replace(_ALL, mixed_precision=False),
}
_ONLY_IF_MEASURED = {
    "cpu": ("compile", "compile_blocks"),
    "cuda": ("compile_blocks", "cuda_graphs"),
}
"""Ways that are faster with some models and slower with others."""


def defaults(device: str) -> tuple[str, ...]:
    """Return the ways that are on by default on a device type, cpu or cuda.

    Not compile on CPUs: the compiler takes the cores from renders for a minute or more for each
    size, which a thousand videos earn back. Not mixed_precision on GPUs: all is in 16 bits there.
    """
    return tuple(name for name in SWITCHES if getattr(_DEFAULTS[device], name))


def worth_a_try(device: str) -> tuple[str, ...]:
    """Return the ways that can be faster on a device type, cpu or cuda."""
    return (*defaults(device), *_ONLY_IF_MEASURED[device])


def over(found: Mapping[str, bool | str], given: Mapping[str, bool | str]) -> dict[str, bool | str]:
    """Return the given switches, with those found that do not contradict them."""
    fits = dict(found)
    if given.get("compile") or given.get("compile_blocks"):  # they exclude each other
        fits |= {"compile": False, "compile_blocks": False}
    return {**fits, **given}


def resolve(switches: Mapping[str, bool | str], device: str) -> Options:
    """Return the wanted ways: the given switches over the defaults of the device type.

    `switches` has values by the names of `Options`; `device` is cpu or cuda.
    """
    given: dict[str, Any] = dict(switches)
    if given.get("compile_blocks"):
        given.setdefault("compile", False)  # they exclude each other
    return dataclasses.replace(_DEFAULTS[device], **given)


class FastPath:
    """The ways that were put onto a pipeline; it is called at the begin and end of each render."""

    def __init__(
        self,
        pipe: Any,
        wanted: Options,
        device: str,
        asked: Lossy = lossy.NOTHING,
        *,
        call: unet3d.Call | None = None,
        compiles: bool = True,
        keeps_texts: bool = True,
    ) -> None:
        """Put the wanted ways onto a pipeline, except those for which it has no parts.

        Call this before the pipeline is placed. `device` is cpu or cuda. `call` is the record that
        layers with LoRAs read, if there are any. Nothing is compiled
        without `compiles`, as where the weights move between devices, nor where lossy ways change
        what the denoiser does from step to step. Texts are kept only for classes that are known to
        allow it (`keeps_texts`): others may render something else.
        """
        self._call = call or unet3d.Call()
        self.lossy = lossy.apply(pipe, asked)
        taken = {
            name: getattr(wanted, name) and way(pipe, self._call) for name, way in _WAYS.items()
        }
        taken["cached_texts"] &= keeps_texts
        self._forms: list[Forms] = []
        taken |= dict.fromkeys(FORMS, False)
        heeds_call = taken["text_once"] or taken["guidance_once"]
        self._make_forms = functools.partial(
            _forms, pipe, self._call, wanted, device, heeds_call=heeds_call
        )
        if compiles and not self.lossy:
            self._forms, forms = self._make_forms()
            taken |= forms
        self.options = Options(**taken)
        self.inapplicable = [n for n in SWITCHES if getattr(wanted, n) and not taken[n]]
        self.inapplicable += [name for name in asked.wanted if name not in self.lossy]
        self.texts = texts.Texts(pipe) if self.options.cached_texts else None
        self._vae = getattr(pipe, "vae", None)
        self.decoded_in_tiles = False
        decoding.decode_in_chunks(self._vae, device)

    def decode(self, *, in_parts: bool, in_tiles: bool) -> None:
        """Choose how the next render's frames are decoded (see `decoding.decode`)."""
        self.decoded_in_tiles = decoding.decode(self._vae, in_parts=in_parts, in_tiles=in_tiles)

    @property
    def taken(self) -> list[str]:
        """The names of the ways in effect."""
        return [*(name for name in SWITCHES if getattr(self.options, name)), *self.lossy]

    @property
    def used(self) -> list[str]:
        """The names of the ways that the last render used."""
        used = set().union(*(forms.used for forms in self._forms))
        unused = {name for name, form in FORMS.items() if form not in used}
        return [name for name in self.taken if name not in unused]

    def begin(self, arguments: Mapping[str, Any], loras: Loras = ()) -> None:
        """Begin a render with LoRAs; `arguments` are those of the pipeline's call."""
        for forms in self._forms:
            forms.begin()
        self._call.loras = loras
        # TextToVideoSDPipeline decides so; the denoiser then gets the batch twice, with two texts.
        self._call.is_guided = arguments.get("guidance_scale", 0) > 1

    def end(self) -> None:
        """End a render: its shapes are compiled and recorded for the next one."""
        for forms in self._forms:
            forms.end()

    @property
    def gets_faster(self) -> bool:
        """Return whether a shape that has been rendered once is rendered faster later."""
        return bool(self._forms)

    @property
    def compiler_seconds(self) -> float:
        """How long the compiler has worked for this pipeline."""
        compilers = [forms.compiled for forms in self._forms if forms.compiled is not None]
        return sum((compiled.seconds for compiled in compilers), 0.0)

    @property
    def graph_bytes(self) -> int:
        """How much device memory recordings keep."""
        return max((one.taken_bytes for one in self._graphs), default=0)  # they share a pool

    @property
    def uncounted_bytes(self) -> int:
        """Memory that the last render needed beyond torch's count (see `Forms`)."""
        return max((forms.uncounted_bytes for forms in self._forms), default=0)

    def drop_graphs(self) -> bool:
        """Drop all recordings; return whether that frees memory."""
        if not self.graph_bytes:
            return False
        for recordings in self._graphs:
            recordings.drop()
        return True

    def let_go_of_forms(self) -> None:
        """Stop compiling and recording: the weights are about to move."""
        for forms in self._forms:
            forms.stop()

    def make_forms_again(self) -> None:
        """Begin to compile and record again: the weights are back where they were."""
        if self._forms:
            self._forms, _ = self._make_forms()

    def discard(self) -> None:
        """Free what the forms keep: the pipeline is not needed any more."""
        for forms in self._forms:
            forms.discard()

    @property
    def _graphs(self) -> list[Graphs]:
        return [forms.graphs for forms in self._forms if forms.graphs is not None]


def _channels_last(pipe: Any, _call: unet3d.Call) -> bool:
    """Store the weights of convolutions in channels_last, as the frames are to be."""
    convs = [m for part in _parts(pipe) for m in part.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    if (unet := _unet3d(pipe)) is not None:
        unet3d.keep_channels_last(unet)
    return bool(convs)


def _temporal_conv_2d(pipe: Any, _call: unet3d.Call) -> bool:
    found = [unet3d.use_temporal_conv_2d(part) for part in _parts(pipe)]
    return any(found)


def _text_once(pipe: Any, call: unet3d.Call) -> bool:
    unet = _unet3d(pipe)
    return unet is not None and unet3d.use_text_once(unet, call)


def _guidance_once(pipe: Any, call: unet3d.Call) -> bool:
    unet = _unet3d(pipe)
    if unet is None or type(pipe) is not TextToVideoSDPipeline:
        return False
    unet3d.use_guidance_once(unet, call)
    return True


def _fused_qkv(pipe: Any, _call: unet3d.Call) -> bool:
    unet = _unet3d(pipe)
    return unet is not None and unet3d.use_fused_qkv(unet)


def _mixed_precision(pipe: Any, _call: unet3d.Call) -> bool:
    found = [
        mixed_precision.use_mixed_precision(model)
        for model in (_unet3d(pipe), getattr(getattr(pipe, "vae", None), "decoder", None))
        if model is not None and _unet3d(pipe) is not None
    ]
    return any(found)


def _forms(
    pipe: Any, call: unet3d.Call, wanted: Options, device: str, *, heeds_call: bool
) -> tuple[list[Forms], dict[str, bool]]:
    """Return what receives the calls of each denoiser, and which ways that implements."""
    parts = denoisers(pipe)
    by_blocks = wanted.compile_blocks and all(blocks(part) for part in parts)
    as_a_whole = wanted.compile and not wanted.compile_blocks
    # All record into one pool: their recordings do not run at the same time.
    recorder = graphs.recorder(device) if wanted.cuda_graphs else None
    taken = {
        "compile": as_a_whole,
        "compile_blocks": by_blocks,
        "cuda_graphs": recorder is not None,
    }
    if not parts or not any(taken.values()):
        return [], dict.fromkeys(FORMS, False)
    compiles = as_a_whole or by_blocks
    made = [
        Forms(
            part,
            call,
            heeds_call=heeds_call,
            compiled=Compiled(part, call, by_blocks=by_blocks) if compiles else None,
            graphs=Graphs(recorder) if recorder is not None else None,
        )
        for part in parts
    ]
    return made, taken


def _cached_texts(pipe: Any, _call: unet3d.Call) -> bool:
    return texts.can_be_kept(pipe)


_WAYS: dict[str, Callable[[Any, unet3d.Call], bool]] = {
    "channels_last": _channels_last,
    "temporal_conv_2d": _temporal_conv_2d,
    "text_once": _text_once,
    "fused_qkv": _fused_qkv,
    "mixed_precision": _mixed_precision,  # after those that exchange the layers' classes
    "guidance_once": _guidance_once,
    "cached_texts": _cached_texts,
}


def _parts(pipe: Any) -> Iterator[nn.Module]:
    """Yield a pipeline's denoisers and its VAE."""
    yield from denoisers(pipe)
    if isinstance(vae := getattr(pipe, "vae", None), nn.Module):
        yield vae


def _unet3d(pipe: Any) -> Any:
    unet = getattr(pipe, "unet", None)
    if isinstance(unet, UNet3DConditionModel):
        return unet
    return None
