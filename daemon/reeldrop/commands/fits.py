"""Whether a model fits on this machine, and what helps if it does not.

By its files if they are here, else by the sizes that its profile tells.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reeldrop.base.residents import HEADROOM

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.config.profile_keys import About
    from reeldrop.render.source import ModelSource

WHOLE, PART_BY_PART = "on the GPU", "part by part on the GPU"
LAYER_BY_LAYER, ON_THE_CPU = "layer by layer on the GPU", "on the CPU"
TOO_LARGE, UNKNOWN = "no", "unknown"

_IN_A_PROCESS = 1.2
"""The memory that a process takes, as a multiple of the weights in it."""

_LARGEST = 1.4
"""The GPU memory that suffices with one part at a time there, as a multiple of the largest part, if
nobody tells it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory of a machine, in bytes; `gpu` is None without one."""

    gpu: int | None
    host: int

    def __str__(self) -> str:
        return _both(self.gpu, self.host) if self.gpu else f"{_gb(self.host)} of memory"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model takes, in bytes.

    weights: all of its weights
    offloaded: what suffices on the GPU with one part at a time there
    beside: what a render takes beside the weights
    """

    weights: float
    offloaded: float
    beside: float


def this_machine() -> Machine:
    """Return the memory of this machine. Imports torch, which takes seconds."""
    from reeldrop.render import devices

    return Machine(devices.total_bytes(), host_bytes())


def host_bytes() -> int:
    """Return the memory of this machine without that of its GPU."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def loads_here(config: Config) -> bool:
    """Return whether this machine loads the models, and not those of a cluster."""
    return config.engine != "ray" or config.ray.address == "local"


def fit(source: ModelSource, about: About, machine: Machine) -> tuple[str, str]:
    """Return how a model fits on a machine, and what it needs, in words."""
    if _lacks_a_gpu(source, machine):
        return TOO_LARGE, f"needs a GPU for `placement: {source.placement}`"
    found = needs(source, about, cuda=machine.gpu is not None)
    if found is None:
        return UNKNOWN, ""
    in_host = found.weights * _IN_A_PROCESS
    has_room = in_host <= machine.host
    if machine.gpu is None or source.placement == "cpu":
        words = f"needs {_gb(in_host)} of memory without a GPU"
        return (ON_THE_CPU if has_room else TOO_LARGE), words
    if source.placement == "sequential_offload":
        return (LAYER_BY_LAYER if has_room else TOO_LARGE), f"needs {_gb(in_host)} of memory"
    if source.placement == "cuda":
        whole = found.weights + found.beside
        return (WHOLE if whole <= machine.gpu else TOO_LARGE), f"needs {_gb(whole)} on the GPU"
    if source.placement == "auto" and found.weights * HEADROOM <= machine.gpu:
        return WHOLE, f"needs {_gb(found.weights * HEADROOM)} on the GPU"
    has_room = has_room and found.offloaded <= machine.gpu
    return (PART_BY_PART if has_room else TOO_LARGE), f"needs {_both(found.offloaded, in_host)}"


def _lacks_a_gpu(source: ModelSource, machine: Machine) -> bool:
    from reeldrop.render import placements

    return machine.gpu is None and source.placement not in placements.WITHOUT_A_GPU


def needs(source: ModelSource, about: About, *, cuda: bool) -> Needs | None:
    """Return what a model takes as its profile has it loaded, with a GPU or without; None if that
    is unknown."""
    plain = dataclasses.replace(source, quantization=None)
    auto = dataclasses.replace(plain, dtype="auto", part_dtypes={}, placement="auto")
    now, before = _parts(source, about, cuda), _parts(plain, about, cuda)
    known = _parts(auto, about, cuda=True)
    if not (now and before and known):
        return None
    weights, denoiser = sum(now.values()), _denoiser(known)
    guess = _LARGEST * max(known.values()) if denoiser else sum(known.values())
    told = about.offloaded_gb * 1e9 if about.offloaded_gb else guess
    if not 0 < denoiser <= told:  # nobody says how large each part is
        return Needs(weights, told * max(now.values()) / max(known.values()), 0)
    # What a render takes beside the weights follows from the dtype, but not from quantization.
    beside = (told - denoiser) * _denoiser(before) / denoiser
    return Needs(weights, max(_denoiser(now) + beside, *now.values()), beside)


def _denoiser(parts: Mapping[str, float]) -> float:
    """Return the size of the largest denoiser; 0 if that is unknown."""
    from reeldrop.speed import denoisers

    return max((size for part, size in parts.items() if part in denoisers.NAMES), default=0)


def _parts(source: ModelSource, about: About, cuda: bool) -> Mapping[str, float]:
    """Return the sizes of a model's parts as they are loaded; empty if they are unknown."""
    from reeldrop.render import weights

    there: Mapping[str, float] = weights.by_part(source, cuda=cuda) or {}
    if there or about.weights_gb is None:
        return there
    rest = max(0.0, about.weights_gb - sum(about.parts_gb.values()))
    told = {part: size * 1e9 for part, size in {**about.parts_gb, "": rest}.items()}
    return weights.scaled(source, told, cuda=cuda)


def lack(name: str, config: Config, machine: Machine) -> str:
    """Return, in words, that a model may not fit on a machine, and what helps; empty if it fits."""
    from reeldrop.config import profiles

    source, about = profiles.untuned(name, config), config.models[name].about
    kind, words = fit(source, about, machine)
    if kind != TOO_LARGE:
        return ""
    ways = [*_ways(source, about, machine), "`reeldrop models` lists what fits"]
    has = "none" if _lacks_a_gpu(source, machine) else machine
    return f"{name} may not fit: it {words}, and this machine has {has}; {'; '.join(ways)}"


def would_be_killed(name: str, config: Config, machine: Machine) -> bool:
    """Return whether already the load of a model takes more memory than a machine has."""
    from reeldrop.config import profiles

    source, about = profiles.untuned(name, config), config.models[name].about
    found = needs(source, about, cuda=machine.gpu is not None)
    is_larger = found is not None and found.weights > machine.host
    return is_larger and fit(source, about, machine)[0] == TOO_LARGE


def _ways(source: ModelSource, about: About, machine: Machine) -> Iterator[str]:
    """Yield what can be done about a model that does not fit."""
    changes: dict[str, dict[str, Any]] = {}
    if source.placement != "auto":
        changes["`placement: auto`"] = {"placement": "auto"}
    if source.dtype != "auto" or source.part_dtypes:
        changes["`dtype` left out"] = {"dtype": "auto", "part_dtypes": {}}
    if source.quantization is None and not any(lora.is_always_used for lora in source.loras):
        changes["`quantization: int8`"] = {"quantization": "int8"}
    found = list(_that_fit(changes, source, about, machine))
    if not found and len(changes) > 1:
        together = {key: value for change in changes.values() for key, value in change.items()}
        found = list(_that_fit({" and ".join(changes): together}, source, about, machine))
    yield from found
    layered = dataclasses.replace(source, placement="sequential_offload")
    goes_on = source.placement in ("auto", "model_offload") and source.quantization is None
    if goes_on and fit(layered, about, machine)[0] == LAYER_BY_LAYER:
        begins = "`placement: sequential_offload` begins with that"
        yield f"else it is tried layer by layer, which is slow ({begins})"


def _that_fit(
    changes: Mapping[str, dict[str, Any]], source: ModelSource, about: About, machine: Machine
) -> Iterator[str]:
    for words, change in changes.items():
        kind, needed = fit(dataclasses.replace(source, **change), about, machine)
        if kind != TOO_LARGE:
            yield f"with {words}, it {needed}"


def _both(on_gpu: float, in_host: float) -> str:
    return f"{_gb(on_gpu)} on the GPU and {_gb(in_host)} of memory"


def _gb(count: float) -> str:
    if count < 1e9:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.0f} GB" if count >= 1e11 else f"{count / 1e9:.3g} GB"
