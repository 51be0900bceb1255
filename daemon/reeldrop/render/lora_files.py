"""Find or download the files of LoRAs, and check them before their weights are read.

Only safetensors files are read: other formats can run code. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render import downloads, hub_cache, tensors
from reeldrop.render.checkpoint import SAFETENSORS
from reeldrop.render.repository import Repository

if TYPE_CHECKING:
    from reeldrop.render.source import LoraSource, ModelSource

_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
}
"""Parts of tensor names that show other methods than plain LoRA."""

_TEXT_ENCODERS = ("text_encoder", "lora_te")
"""The beginnings of names of tensors for a text encoder."""


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA of a profile with its file, and what identifies the file.

    revision: the commit of its repository; None if it is not from the hub
    sha256: of its bytes; empty if there is a revision
    """

    lora: LoraSource
    path: Path
    revision: str | None = None
    sha256: str = ""


def misfit(source: ModelSource, lora: LoraSource, problem: str, remedy: str) -> ConfigError:
    """Return the error that a LoRA can't be used in its profile."""
    key = f"{source.key}.loras.{lora.name}"
    return ConfigError(Mistake(f"the LoRA {lora.name} of {source.name} {problem}", remedy, key=key))


def found(source: ModelSource, tell: downloads.Tell | None = None) -> tuple[LoraFile, ...]:
    """Return the files of a profile's LoRAs; download those that are not on this machine.

    Raises:
        ConfigError: there is no such file, or it is not a LoRA that reeldrop supports.
        Unavailable: it could not be downloaded.
    """
    return tuple(_found(source, lora, tell) for lora in source.loras)


def _found(source: ModelSource, lora: LoraSource, tell: downloads.Tell | None) -> LoraFile:
    if not Path(lora.location).is_absolute():
        assert lora.weight_name is not None  # config.yaml is refused without
        path = downloads.fetch_file(repository(source, lora), lora.weight_name, tell)
        _look_at(source, lora, path)
        return LoraFile(lora, path, revision=hub_cache.commit_of(path))
    path = _in_folder(source, lora, Path(lora.location))
    _look_at(source, lora, path)
    with path.open("rb") as file:
        return LoraFile(lora, path, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def repository(source: ModelSource, lora: LoraSource) -> Repository:
    """Return the repository of a LoRA on the hub."""
    return Repository(source.name, lora.location, lora.revision, pins=source.pins, lora=lora.name)


def of_hub(source: ModelSource) -> list[tuple[Repository, str]]:
    """Return the repositories of a profile's LoRAs, each with the file that is needed of it."""
    loras = (lora for lora in source.loras if not Path(lora.location).is_absolute())
    return [(repository(source, lora), str(lora.weight_name)) for lora in loras]


def there(source: ModelSource) -> Iterator[tuple[LoraSource, Path]]:
    """Yield those LoRAs of a profile that are on this machine, with their files.

    Raises:
        ConfigError: a file or folder that config.yaml names is missing.
    """
    for lora in source.loras:
        if Path(lora.location).is_absolute():
            yield lora, _in_folder(source, lora, Path(lora.location))
        elif path := hub_cache.file_there(repository(source, lora), str(lora.weight_name)):
            yield lora, path


def _in_folder(source: ModelSource, lora: LoraSource, path: Path) -> Path:
    """Return the file at a path of config.yaml, which may be the path of its folder."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise misfit(source, lora, f"is not there: {path}", "give the path of its file or folder")
    names = sorted(file.name for file in path.glob(f"*{SAFETENSORS}"))
    if lora.weight_name is None and len(names) != 1:
        count = f"{len(names)} safetensors files" if names else "no safetensors file"
        remedy = f"name it with weight_name; {did_you_mean('', names)}" if names else "put it there"
        raise misfit(source, lora, f"can't be found in {path}: there is {count}", remedy)
    file = path / (lora.weight_name or names[0])
    if not file.is_file():
        remedy = did_you_mean(file.name, names) if names else "put it there"
        raise misfit(source, lora, f"is not in {path}: there is no {lora.weight_name}", remedy)
    return file


def _look_at(source: ModelSource, lora: LoraSource, path: Path) -> None:
    """Raise ConfigError if a file can't be read, or is not a LoRA for a denoiser alone."""
    if path.suffix != SAFETENSORS:
        remedy = "convert it to safetensors: other formats can run code, so reeldrop refuses them"
        raise misfit(source, lora, f"is no safetensors file: {path}", remedy)
    try:
        names = tensors.shapes(path)
    except (OSError, ValueError) as error:
        remedy = "it must be a complete safetensors file: copy or download it again"
        raise misfit(source, lora, f"can't be read from {path}: {error}", remedy) from None
    kind = next((k for mark, k in _OTHER_KINDS.items() if any(mark in n for n in names)), None)
    if kind is not None:
        raise misfit(source, lora, f"is a {kind}: {path}", "use a plain LoRA instead")
    if any(name.startswith(_TEXT_ENCODERS) for name in names):
        remedy = "use one for the denoiser alone: reeldrop does not change text encoders"
        raise misfit(source, lora, f"also changes a text encoder: {path}", remedy)
