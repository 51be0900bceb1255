"""The keys at the top of config.yaml. Does not know the file or built-in profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.config.profile_keys import Profile
from reeldrop.config.values import STRICT, Folder, Glob, Hours
from reeldrop.config.world import Cluster, Command, MetricsPlaces, Provenance, Receiver, Translators

AUTO_WITH_CUDA = "ms-1.7b"
AUTO_WITHOUT = "bundled"


class Config(BaseModel):
    """All settings of the daemon. Folders are absolute paths."""

    model_config = STRICT

    inbox: Folder = Path("inbox")
    results: Folder = Path("results")
    spool: Folder = Path("spool")
    failed: Folder = Path("results/_failed")
    settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    renamed_settle_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.2
    scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    idle_scan_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    picture_wait_minutes: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    ignore: Annotated[list[Glob], Field(max_length=100)] = []
    controls: bool = True
    night: Hours = "22:00-06:00"
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    min_free_gib: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    model_wait_seconds: Annotated[float, Field(ge=0, le=86400)] = 120.0
    idle_unload_minutes: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    engine: Literal["in_process", "ray"] = "in_process"
    ray: Cluster = Cluster()
    mp4_encoder: Literal["auto", "libx264", "h264_nvenc"] = "auto"
    synthetic_mark: bool = True
    provenance: Provenance | None = None
    page: bool = True
    notify: Annotated[list[Receiver], Field(max_length=100)] = []
    on_video: Command = []
    on_job: Command = []
    on_failed: Command = []
    hook_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    metrics: MetricsPlaces = MetricsPlaces()
    notify_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    translate: Translators = {}
    render_untranslated: bool = False
    model: str = "auto"
    models: Annotated[dict[str, Profile], Field(min_length=1)]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _failed_in_results(cls, values: object) -> object:
        if isinstance(values, dict):
            results = values.get("results", "results")
            inside = {"failed": f"{results}/_failed"} if isinstance(results, str) else {}
            return {"inbox": "inbox", "results": "results", "spool": "spool", **inside, **values}
        return values

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Config:
        apart = {"inbox": self.inbox, "results": self.results, "spool": self.spool}
        for name, folder in apart.items():
            for other, above in apart.items():
                if name != other and folder.is_relative_to(above):
                    raise ValueError(f"{name}: {folder} must not be inside {other} ({above})")
        if any(folder.is_relative_to(self.failed) for folder in apart.values()):
            raise ValueError(f"failed: {self.failed} must be a folder of its own")
        if any(self.failed.is_relative_to(folder) for folder in (self.inbox, self.spool)):
            raise ValueError(f"failed: {self.failed} must be neither in the inbox nor in the spool")
        return self

    def allowed(self, name: str) -> dict[str, Any]:
        """Return what prompts may ask of a profile, as arguments of `ModelRules`."""
        profile = self.models[name]
        return {
            "defaults": profile.prompt_defaults,
            "limits": profile.prompt_limits,
            "loras": profile.lora_limits,
            "reads_weights": profile.prompt_syntax == "weighted",
            "languages": profile.languages,
            "translators": frozenset(self.translate),
        }

    def selected_model(self, *, cuda: bool) -> str:
        """Return the profile for prompts that name none.

        Raises:
            ConfigError: `model: auto` selects a profile that config.yaml doesn't have.
        """
        if self.model != "auto":
            return self.model
        name = AUTO_WITH_CUDA if cuda else AUTO_WITHOUT
        if name not in self.models:
            problem = f"model: auto stands for the profile '{name}' on this machine"
            remedy = f"add it under models, or name one of {', '.join(self.models)}"
            raise ConfigError(Mistake(problem, remedy, key="model"))
        return name
