"""The fast path: ways to render the same frames, up to rounding, in less time.

Each way has a switch and applies where a pipeline has the parts for it. Does not load pipelines and
does not render.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

from reeldrop.base.loras import Loras
from reeldrop.speed import channels_last, decoding, lossy, mixed_precision, texts, unet3d
from reeldrop.speed.compiled import Compiled, blocks, wait_for_compiler
from reeldrop.speed.denoisers import denoisers, parts
from reeldrop.speed.forms import Forms
from reeldrop.speed.lossy import Lossy

Compile = Literal["off", "whole", "blocks"]

READY_SECONDS = 60.0
"""How long the warm-up waits, at most, for what is compiled from what is on the disk."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which ways are wanted, or were taken. config.yaml explains each of them."""

    exact: bool = False
    mixed_precision: bool = False
    compile: Compile = "off"

    @property
    def names(self) -> list[str]:
        """The names of the ways, for people and sidecars."""
        switches = {"exact": self.exact, "mixed_precision": self.mixed_precision}
        compiled = [f"compile_{self.compile}"] if self.compile != "off" else []
        return [*(name for name, is_on in switches.items() if is_on), *compiled]


PLAIN: dict[str, bool | str] = dataclasses.asdict(Options())
"""The switches of a pipeline as diffusers has it."""

_MAY_BE = {"exact": (True, False), "mixed_precision": (True, False), "compile": get_args(Compile)}


def defaults(device: str) -> Options:
    """Return the ways that are on by default on a device type, cpu or cuda.

    Not compile on CPUs: the compiler takes the cores from renders for a minute or more for each
    size, which a thousand videos earn back. Not mixed_precision on GPUs: all is in 16 bits there.
    """
    if device == "cuda":
        return Options(exact=True, compile="whole")
    return Options(exact=True, mixed_precision=mixed_precision.is_native())


def worth_a_try(device: str) -> tuple[tuple[str, bool | str], ...]:
    """Return the switches that can make it faster on a device type, cpu or cuda, in their order.

    Compiling is faster with some models and slower with others, whole or by blocks.
    """
    mixed = (("mixed_precision", True),) if defaults(device).mixed_precision else ()
    return (("exact", True), *mixed, ("compile", "whole"), ("compile", "blocks"))


def are_possible(switches: Mapping[str, bool | str]) -> bool:
    """Return whether each switch is known and has a value that it may have."""
    return all(value in _MAY_BE.get(name, ()) for name, value in switches.items())


def resolve(switches: Mapping[str, bool | str], device: str) -> Options:
    """Return the wanted ways: the given switches over the defaults of the device type.

    `switches` has values by the names of `Options`; `device` is cpu or cuda.
    """
    given: dict[str, Any] = dict(switches)
    return dataclasses.replace(defaults(device), **given)


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
        encode: texts.Encode | None = None,
    ) -> None:
        """Put the wanted ways onto a pipeline, except those for which it has no parts.

        Call this before the pipeline is placed. `device` is cpu or cuda. `call` is the record that
        layers with LoRAs read, if there are any. Nothing is compiled
        without `compiles`, as where the weights move between devices, nor where lossy ways change
        what the denoiser does from step to step. Texts are kept only for classes that are known to
        allow it (`keeps_texts`): others may render something else. With `encode`, which encodes
        texts in place of the pipeline, they are kept in any case.
        """
        self.call = call or unet3d.Call()
        self.lossy = lossy.apply(pipe, asked)
        keeps_texts &= wanted.exact and texts.can_be_kept(pipe)
        self.texts = texts.Texts(pipe, encode) if keeps_texts or encode else None
        is_exact = wanted.exact and _exact(pipe, self.call)
        is_mixed = wanted.mixed_precision and _mixed_precision(pipe)  # after what changes classes
        self._pipe = pipe
        self._how: Compile = wanted.compile if compiles and not self.lossy else "off"
        self._heeds_call = wanted.exact and _unet3d(pipe) is not None
        self._forms = self._make_forms()
        self.options = Options(
            exact=is_exact or keeps_texts,
            mixed_precision=is_mixed,
            compile=self._how if self._forms else "off",
        )
        self.inapplicable = [name for name in wanted.names if name not in self.options.names]
        self.inapplicable += [name for name in asked.wanted if name not in self.lossy]
        self._vae = getattr(pipe, "vae", None)
        self.decoded_in_tiles = False
        decoding.decode_in_chunks(self._vae, device)

    def decode(self, *, in_parts: bool, in_tiles: bool) -> None:
        """Choose how the next render's frames are decoded (see `decoding.decode`)."""
        self.decoded_in_tiles = decoding.decode(self._vae, in_parts=in_parts, in_tiles=in_tiles)

    @property
    def taken(self) -> list[str]:
        """The names of the ways in effect."""
        return [*self.options.names, *self.lossy]

    @property
    def used(self) -> list[str]:
        """The names of the ways that the last render used."""
        is_compiled = any(forms.was_used for forms in self._forms)
        used = self.options if is_compiled else dataclasses.replace(self.options, compile="off")
        return [*used.names, *self.lossy]

    def begin(self, arguments: Mapping[str, Any], loras: Loras = ()) -> None:
        """Begin a render with LoRAs; `arguments` are those of the pipeline's call."""
        for forms in self._forms:
            forms.begin()
        self.call.loras = loras
        # TextToVideoSDPipeline decides so; the denoiser then gets the batch twice, with two texts.
        self.call.is_guided = arguments.get("guidance_scale", 0) > 1

    def end(self) -> None:
        """End a render: its shapes are compiled for the next one."""
        for forms in self._forms:
            forms.end()

    def wait_for_what_is_on_disk(self) -> float:
        """Wait for what the last render began to compile, if it was compiled before.

        Returns the seconds.
        """
        if not any(forms.compiled.is_on_disk for forms in self._forms):
            return 0.0
        began = time.monotonic()
        wait_for_compiler(READY_SECONDS)
        return time.monotonic() - began

    @property
    def gets_faster(self) -> bool:
        """Return whether a shape that has been rendered once is rendered faster later."""
        return bool(self._forms)

    @property
    def compiler_seconds(self) -> float:
        """How long the compiler has worked for this pipeline."""
        return sum((forms.compiled.seconds for forms in self._forms), 0.0)

    def let_go_of_forms(self) -> None:
        """Stop compiling: the weights are about to move."""
        for forms in self._forms:
            forms.stop()

    def make_forms_again(self) -> None:
        """Begin to compile again: the weights are back where they were."""
        if self._forms:
            self._forms = self._make_forms()

    def discard(self) -> None:
        """Free what the forms keep: the pipeline is not needed any more."""
        for forms in self._forms:
            forms.discard()

    def _make_forms(self) -> list[Forms]:
        """Put what compiles in front of each denoiser; none if one of them has no blocks."""
        found, by_blocks = denoisers(self._pipe), self._how == "blocks"
        if self._how == "off" or (by_blocks and not all(map(blocks, found))):
            return []
        return [
            Forms(
                part,
                self.call,
                Compiled(part, self.call, by_blocks=by_blocks),
                heeds_call=self._heeds_call,
            )
            for part in found
        ]


def _exact(pipe: Any, call: unet3d.Call) -> bool:
    """Put all ways that only round differently onto a pipeline; return whether there are any."""
    ways = (channels_last.use_channels_last, channels_last.use_temporal_conv_2d)
    found = [way(part) for part in parts(pipe) for way in ways]
    if (unet := _unet3d(pipe)) is not None:
        unet3d.use_text_once(unet, call)
        if all(type(weight.data) is torch.Tensor for weight in unet.parameters()):  # not quantized
            unet3d.use_fused_qkv(unet)
        if type(pipe) is TextToVideoSDPipeline:
            unet3d.use_guidance_once(unet, call)
    return any(found)


def _mixed_precision(pipe: Any) -> bool:
    if (unet := _unet3d(pipe)) is None:
        return False
    models = (unet, getattr(getattr(pipe, "vae", None), "decoder", None))
    found = [mixed_precision.use_mixed_precision(model) for model in models if model is not None]
    return any(found)


def _unet3d(pipe: Any) -> Any:
    unet = getattr(pipe, "unet", None)
    return unet if isinstance(unet, UNet3DConditionModel) else None
