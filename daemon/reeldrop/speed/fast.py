"""The fast path: optimizations that render the same frames, up to rounding, in less time.

Each has a switch, and is applied if the pipeline has the parts for it. Does not load pipelines, and
does not render.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

from reeldrop.base.loras import Loras
from reeldrop.speed import decoding, lossy, mixed_precision, texts, unet3d
from reeldrop.speed.channels_last import use_channels_last
from reeldrop.speed.compiled import Forms, blocks, is_compiling, wait_for_compiler
from reeldrop.speed.denoisers import denoisers, made_of, modules, parts
from reeldrop.speed.lossy import Lossy

Compile = Literal["off", "whole", "blocks"]

READY_SECONDS = 60.0
"""How long the warm-up waits at most for forms that are loaded from the compiler's cache."""


@dataclass(frozen=True, slots=True)
class Options:
    """The optimizations that are wanted, or were applied. config.yaml explains them."""

    exact: bool = False
    mixed_precision: bool = False
    compile: Compile = "off"

    @property
    def names(self) -> list[str]:
        """Their names, for people and sidecars."""
        switches = {
            "exact": self.exact,
            "mixed_precision": self.mixed_precision,
            f"compile_{self.compile}": self.compile != "off",
        }
        return [name for name, is_on in switches.items() if is_on]


PLAIN: dict[str, bool | str] = dataclasses.asdict(Options())
"""The switches of a pipeline without any optimization."""


def defaults(device: str) -> Options:
    """Return the optimizations that are on by default on a device type, cpu or cuda.

    Not `compile` on CPUs, where the compiler takes the cores from renders for a minute or more for
    each size, which pays after a thousand videos. Not `mixed_precision` on GPUs, where models are
    in 16 bits anyway.
    """
    if device == "cuda":
        return Options(exact=True, compile="whole")
    return Options(exact=True, mixed_precision=mixed_precision.is_native())


def worth_a_try(device: str) -> tuple[tuple[str, bool | str], ...]:
    """Return the switches that `tune` tries on a device type, cpu or cuda, in this order.

    Compiling, whole or by blocks, makes some models faster and others slower.
    """
    mixed = (("mixed_precision", True),) if defaults(device).mixed_precision else ()
    return (("exact", True), *mixed, ("compile", "whole"), ("compile", "blocks"))


def resolve(switches: Mapping[str, bool | str], device: str) -> Options:
    """Return the wanted optimizations: the given switches over the defaults of the device type.

    `switches` has values by the names of `Options`; `device` is cpu or cuda.
    """
    given: dict[str, Any] = dict(switches)
    return dataclasses.replace(defaults(device), **given)


class FastPath:
    """The optimizations of a pipeline; `begin` and `end` are called around each render.

    forms: the compiled forms of its denoisers; none if they are not compiled
    """

    def __init__(
        self,
        pipe: Any,
        wanted: Options,
        device: str,
        asked: Lossy = lossy.NOTHING,
        *,
        call: unet3d.Call | None = None,
        compiles: bool = True,
        keeps_texts: bool = False,
        encode: texts.Encode | None = None,
    ) -> None:
        """Apply the wanted optimizations to a pipeline, except those for which it has no parts.

        Call this before the pipeline is placed.

        device: cpu or cuda
        asked: the lossy optimizations; with these nothing is compiled, because steps differ
        call: the record that layers with LoRAs read
        compiles: false where the weights move between devices
        keeps_texts: whether the class is known to render the same from kept embeddings
        encode: encodes texts in place of the pipeline; with it, embeddings are always kept
        """
        self.call = call or unet3d.Call()
        self.lossy = lossy.apply(pipe, asked)
        keeps_texts &= wanted.exact
        self.texts = texts.Texts(pipe, encode) if keeps_texts or encode else None
        is_exact = wanted.exact and _exact(pipe, self.call)
        is_mixed = wanted.mixed_precision and _mixed_precision(pipe)  # after classes are replaced
        self._pipe = pipe
        self._heeds_guidance = wanted.exact and type(pipe) is TextToVideoSDPipeline
        how: Compile = wanted.compile if compiles and not self.lossy else "off"
        self.forms = _forms(pipe, self.call, how)
        self.options = Options(
            exact=is_exact or keeps_texts,
            mixed_precision=is_mixed,
            compile=how if self.forms else "off",
        )
        self.inapplicable = [name for name in wanted.names if name not in self.options.names]
        self.inapplicable += [name for name in asked.wanted if name not in self.lossy]
        decoding.decode_in_chunks(getattr(pipe, "vae", None), device)

    @property
    def taken(self) -> list[str]:
        """The names of the optimizations in effect."""
        return [*self.options.names, *self.lossy]

    @property
    def used(self) -> list[str]:
        """The names of the optimizations that the last render used."""
        is_compiled = any(forms.was_used for forms in self.forms)
        used = self.options if is_compiled else dataclasses.replace(self.options, compile="off")
        return [*used.names, *self.lossy]

    def begin(self, arguments: Mapping[str, Any], loras: Loras = ()) -> None:
        """Begin a render with LoRAs; `arguments` are those of the pipeline's call."""
        for forms in self.forms:
            forms.begin()
        self.call.loras = loras
        # As TextToVideoSDPipeline decides: then the denoiser gets the batch twice, with two texts.
        self.call.is_guided = self._heeds_guidance and arguments.get("guidance_scale", 0) > 1

    def end(self) -> None:
        """End a render: start to compile its shapes for the next one."""
        for forms in self.forms:
            forms.end()

    def wait_for_what_is_on_disk(self, is_enough: Callable[[], bool]) -> float:
        """Wait for the compiler if the code is in its cache; return the seconds.

        `READY_SECONDS` at most, and until `is_enough`.
        """
        if not any(forms.is_on_disk for forms in self.forms):
            return 0.0
        began = time.monotonic()
        wait_for_compiler(READY_SECONDS, is_enough)
        return time.monotonic() - began

    @property
    def compiler_seconds(self) -> float:
        """The total time of this pipeline's compilations."""
        return sum((forms.seconds for forms in self.forms), 0.0)

    def let_go_of_forms(self) -> None:
        """Drop what is compiled, before the weights are moved; later renders compile it again."""
        for forms in self.forms:
            forms.drop()

    def stop_compiling(self) -> None:
        """Compile nothing any more, because the weights will come and go."""
        for forms in self.forms:
            forms.stop()
        self.forms = []

    def discard(self) -> None:
        """Free the memory of compiled forms; the pipeline can't be used any more.

        While something compiles, also that of the weights: the compiler holds some of them for
        minutes, and until then no garbage is collected.
        """
        self.let_go_of_forms()
        if is_compiling():
            for part in modules(self._pipe):
                for tensor in made_of((*part.parameters(), *part.buffers())):
                    if type(tensor.data) is torch.Tensor:
                        tensor.data = tensor.data.new_empty(0)


def _forms(pipe: Any, call: unet3d.Call, how: Compile) -> list[Forms]:
    """Put compiled forms in front of each denoiser; none if blocks are wanted but missing."""
    found, by_blocks = denoisers(pipe), how == "blocks"
    if how == "off" or (by_blocks and not all(map(blocks, found))):
        return []
    return [Forms(part, call, by_blocks=by_blocks) for part in found]


def _exact(pipe: Any, call: unet3d.Call) -> bool:
    """Apply all optimizations that only round differently; return whether there are any."""
    found = [use_channels_last(part) for part in parts(pipe)]
    if (unet := _unet3d(pipe)) is not None:
        unet3d.use_fast_attention(unet, call)
        unet3d.use_guidance_once(unet, call)
    return any(found)


def _mixed_precision(pipe: Any) -> bool:
    if (unet := _unet3d(pipe)) is None:
        return False
    found = [mixed_precision.use_mixed_precision(model) for model in (unet, pipe.vae.decoder)]
    return any(found)


def _unet3d(pipe: Any) -> Any:
    unet = getattr(pipe, "unet", None)
    return unet if isinstance(unet, UNet3DConditionModel) else None


class Untouched:
    """A snapshot of the denoisers and the VAE of a pipeline, with their weights in host memory.

    Only for `tune`: it holds the weights a second time. It knows no optimization, so none has to
    undo itself.
    """

    def __init__(self, pipe: Any) -> None:
        pipe.remove_all_hooks()  # offloading adds its hooks again at the next placement
        found = [module for part in parts(pipe) for module in part.modules()]
        self._states = [(module, type(module), _copied(vars(module))) for module in found]
        self._weights = [
            (weight, weight.data.cpu())
            for module in found
            for weight in (*module._parameters.values(), *module._buffers.values())
            if weight is not None and type(weight.data) is torch.Tensor  # quantized: never changed
        ]

    def restore(self) -> None:
        """Restore class, parts, hooks and weights of each module, bit for bit.

        Then place the pipeline again.
        """
        for module, kind, state in self._states:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(_copied(state))
        for weight, data in self._weights:
            weight.data = data


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a module's attributes, and of the dicts of its parts, weights and hooks."""
    return {k: v.copy() if type(v) in (dict, OrderedDict) else v for k, v in state.items()}
