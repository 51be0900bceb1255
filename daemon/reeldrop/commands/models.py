"""`reeldrop models`: the models that reeldrop knows, what fits on this machine, what is there."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reeldrop.commands import fits, output
from reeldrop.config import builtin
from reeldrop.render import classes, hub_cache, pins
from reeldrop.render.repository import Repository

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.config.profile_keys import Profile


@dataclass(frozen=True, slots=True)
class Listed:
    """A model: what it is, and whether it is on this machine and fits.

    offered: prompt files may name it
    is_default: it is the profile for prompts that name none
    fits: how it fits, as `fits.fit` says it
    downloaded: its files are on this machine
    needs_picture: it makes no video from a text alone
    """

    name: str
    offered: bool
    is_default: bool
    pipeline: str | None
    licence: str | None
    video: str
    fits: str
    needs: str
    download_gb: float | None
    downloaded: bool
    note: str | None
    needs_picture: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the table, as in HEADINGS."""
        prompts = "default" if self.is_default else "yes" if self.offered else ""
        there = "yes" if self.downloaded else f"no, {size(self.download_gb)}"
        fit = f"{self.fits}, {self.needs}" if self.fits == fits.TOO_LARGE else self.fits
        return self.name, prompts, fit, there, self.video, self.licence or ""


HEADINGS = ("model", "for prompts", "fits", "downloaded", "video", "licence")


def list_models(config: Config, *, as_json: bool) -> None:
    """Print the models of config.yaml and those that come with reeldrop."""
    from reeldrop.render import devices  # imports torch: takes seconds

    default = config.selected_model(cuda=devices.cuda_is_available())
    found = list(listed(config, default, fits.this_machine()))
    if as_json:
        output.print_json([dataclasses.asdict(model) for model in found])
        return
    output.print_rows((model.cells for model in found), HEADINGS)
    if sys.stdout.isatty():
        print("Prompt files may name the others, too, once config.yaml does: `models: {NAME: {}}`.")
        print("How long a video takes on this machine is not known before the first one.")
        for model in found:
            if model.note:
                print(f"{model.name}: {model.note}")


def listed(config: Config, default: str, machine: fits.Machine) -> Iterator[Listed]:
    """Yield the models of config.yaml and those that come with reeldrop."""
    from reeldrop.config import profiles

    for name in dict.fromkeys([*config.models, *builtin.profiles()]):
        profile = config.models.get(name) or builtin.profile(name)
        about = profile.about
        source = profiles.of_profile(name, profile, config)
        fit, needs = fits.fit(source, about, machine)
        yield Listed(
            name=name,
            offered=name in config.models,
            is_default=name == default,
            pipeline=profile.pipeline or about.pipeline,
            licence=about.licence,
            video=video(profile),
            fits=fit,
            needs=needs,
            download_gb=about.download_gb,
            downloaded=is_downloaded(name, profile, config),
            note=about.note,
            needs_picture=needs_picture(profile),
        )


def is_to_come(name: str, config: Config) -> bool:
    """Return whether the first start will download a model: it is missing, and it may do so."""
    return not is_downloaded(name, config.models[name], config) and not hub_cache.is_offline()


def size(download_gb: float | None) -> str:
    """Return the size of a download, in words."""
    return "size not known" if download_gb is None else f"{download_gb:g} GB"


def video(profile: Profile) -> str:
    """Return what a profile makes by default: size, frames, frames a second, and from what."""
    found = profile.defaults
    if "num_frames" not in found:
        return ""
    size = f"{found['width']}x{found['height']}, " if {"width", "height"} <= found.keys() else ""
    rate = f" at {found['fps']} fps" if "fps" in found else ""
    from_what = ", from a picture" if needs_picture(profile) else ""
    return f"{size}{found['num_frames']} frames{rate}{from_what}"


def needs_picture(profile: Profile) -> bool:
    """Return whether a profile's model is known to make no video without a picture."""
    kind = classes.kind_named(profile.pipeline or profile.about.pipeline or "")
    return any(kind.pictures.values())


def repository(name: str, profile: Profile, config: Config) -> Repository | None:
    """Return the repository of a profile; None if its files are on this machine anyway."""
    if profile.repository is None:
        return None
    file = config.spool / pins.FILE_NAME
    return Repository(name, profile.repository, profile.revision, profile.variant, file)


def loras(name: str, profile: Profile, config: Config) -> list[tuple[Repository, str]]:
    """Return the repositories of a profile's LoRAs, each with the file that is needed of it."""
    file = config.spool / pins.FILE_NAME
    return [
        (Repository(name, lora.repository, lora.revision, pins=file, lora=key), lora.weight_name)
        for key, lora in profile.loras.items()
        if lora.repository is not None and lora.weight_name is not None
    ]


def is_downloaded(name: str, profile: Profile, config: Config) -> bool:
    """Return whether the files of a model are on this machine, with those of its LoRAs."""
    model = repository(name, profile, config)
    if model is not None and not (hub_cache.complete(model) or hub_cache.seems_there(model)):
        return False
    return all(hub_cache.file_there(*lora) for lora in loras(name, profile, config))
