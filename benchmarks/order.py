"""The order for both sides of a comparison: the same model, prompts, seeds and settings.

It knows neither the script nor the daemon. Its settings are those of the daemon's profile.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reeldrop.config import builtin
from reeldrop.render.source import bundled_model

PROMPTS = (
    "A red balloon rising over the sea",
    "A white boat sailing to the right at night",
    "A big blue ball bouncing on grass",
    "An orange star falling in the desert",
)

FULL_SIZE = "ms-1.7b"
SMALL = "bundled"


@dataclass(frozen=True)
class Order:
    """A number of prompts for one model, with consecutive seeds from `first_seed`.

    folder: of the diffusers pipeline.
    profile: its profile in config.yaml.
    """

    folder: Path
    profile: dict[str, Any]
    videos: int
    first_seed: int = 0

    @property
    def prompts(self) -> list[tuple[str, int]]:
        """Each prompt with its seed."""
        seeds = range(self.first_seed, self.first_seed + self.videos)
        return [(PROMPTS[seed % len(PROMPTS)], seed) for seed in seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """The diffusers call arguments that the profile sets for every prompt."""
        given = self.profile["defaults"]
        return {key: value for key, value in given.items() if key not in ("fps", "format")}

    def write(self, path: Path) -> Path:
        """Write the order to a file for another process, and return its path."""
        path.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}))
        return path

    @classmethod
    def read(cls, path: Path) -> Order:
        """Return the order that another process wrote."""
        written = json.loads(path.read_text())
        return cls(**{**written, "folder": Path(written["folder"])})


def shipped(name: str) -> dict[str, Any]:
    """Return a built-in profile, as config.yaml could have it."""
    profile = copy.deepcopy(builtin.profiles()[name])
    del profile["about"]
    return profile


def of_bundled(videos: int, **changes: Any) -> Order:
    """Return an order for the bundled model; `changes` are to its profile's defaults."""
    profile = shipped(SMALL)
    profile["defaults"] |= changes
    return Order(bundled_model(), profile, videos)


def of_folder(folder: Path, videos: int, **changes: Any) -> Order:
    """Return an order for a pipeline in a folder, with the original model's profile."""
    profile = shipped(FULL_SIZE)
    del profile["repository"]
    profile["path"] = str(folder)
    profile["defaults"] |= changes
    return Order(folder, profile, videos)
