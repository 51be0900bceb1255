"""Explain why a model can't be loaded, with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reeldrop.base import trouble
from reeldrop.base.errors import ConfigError, FileError, Mistake, Unavailable
from reeldrop.render import hub_cache
from reeldrop.render.source import bundled_model

if TYPE_CHECKING:
    from reeldrop.render.source import ModelSource

_OPTIONAL = ("torchvision", "cosmos_guardrail", "opencv", "sentencepiece", "protobuf", "ftfy")
"""Packages that some models need, as they are named in error messages."""

_NEEDED = {
    "Cosmos2_5_PredictBasePipeline": "cosmos_guardrail",
    "Cosmos3OmniPipeline": "cosmos_guardrail",
    "CosmosTextToWorldPipeline": "cosmos_guardrail",
    "Qwen2VLProcessor": "torchvision",
    "Qwen2_5_VLProcessor": "torchvision",
}
"""The packages that classes of pipelines and of their parts need, besides those of reeldrop."""


def require_packages(source: ModelSource, index: Mapping[str, Any]) -> None:
    """Check that a model's classes find the packages that they need, by its model_index.json.

    Raises:
        ConfigError: one is not installed.
    """
    names = [source.pipeline or index.get("_class_name")]
    names += [value[1] for value in index.values() if isinstance(value, list) and len(value) == 2]
    for name in names:
        package = _NEEDED.get(str(name))
        if package is not None and find_spec(package) is None:
            raise failure(source, ImportError(f"{name} needs {package}", name=package))


def failure(source: ModelSource, error: Exception) -> FileError:
    """Return the error to raise when a model can't be loaded, with the reason and a remedy."""
    if isinstance(error, ImportError):
        return ConfigError(_missing_package(source, error))
    if (of_machine := trouble.of(error)) is not None and Path(source.location).is_absolute():
        found = trouble.mistake(of_machine)
        problem = f"the model {source.name} can't be loaded: {found.problem}"
        return Unavailable(Mistake(problem, found.remedy, key=source.name))
    problem, remedy = _load_problem(source, error), _load_remedy(source)
    is_of_path = Path(source.location).is_absolute() and source.location != str(bundled_model())
    key = f"{source.key}.path" if is_of_path else source.name  # repositories may be built-in ones
    return _kind_of_failure(source)(Mistake(problem, remedy, key=key))


def _missing_package(source: ModelSource, error: ImportError) -> Mistake:
    text = " ".join(str(error).split()).partition(". ")[0]
    package = next((name for name in _OPTIONAL if name in text.lower()), error.name)
    problem = f"the model {source.name} needs a package that is not installed: {text}"
    remedy = f"install {package or 'it'} beside reeldrop, in the build for this version of torch"
    return Mistake(problem, remedy, key=source.name)


def _kind_of_failure(source: ModelSource) -> type[FileError]:
    """Return ConfigError for a folder, Unavailable for a download, which may succeed later."""
    return ConfigError if Path(source.location).is_absolute() else Unavailable


def _load_problem(source: ModelSource, error: Exception) -> str:
    is_folder = Path(source.location).is_absolute()
    if is_folder and not Path(source.location).is_dir():
        return f"the model {source.name} can't be loaded: there is no folder {source.location}"
    if isinstance(error, OSError) and not is_folder:
        model = f"the model {source.name} ({source.location})"
        cause = "" if hub_cache.is_offline() else f": {_first_line(error.__cause__ or error)}"
        return f"{model} is not on this machine and could not be downloaded{cause}"
    reason = " ".join(str(error).split())[:500]
    return f"the model {source.name} can't be loaded from {source.location}: {reason}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:120]


def _load_remedy(source: ModelSource) -> str:
    if Path(source.location).is_absolute():
        return "the folder must hold a diffusers pipeline with safetensors weights"
    if hub_cache.is_offline():
        return (
            "HF_HUB_OFFLINE forbids downloads: unset it for the first start, or download it with "
            f"`reeldrop pull {source.name}`, or give the folder of a copy as `path:`"
        )
    return (
        "check the network, and the repository's name, revision and variant in config.yaml; or "
        "give the folder of a copy as `path:`"
    )
