"""Find, read and check config.yaml; report every mistake with its line and a remedy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pydantic

from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, FileError, Mistake, Unavailable, YamlError
from reeldrop.config import builtin, mistakes
from reeldrop.config.schema import Config as Config

NAME = "config.yaml"
ENVIRONMENT = "REELDROP_CONFIG"
SYSTEM_WIDE = Path("/etc/reeldrop/config.yaml")


def template() -> str:
    """Return the text of the commented config.yaml that comes with reeldrop."""
    return resources.files("reeldrop").joinpath(NAME).read_text(encoding="utf-8")


def find(given: Path | None) -> Path:
    """Return the config.yaml to use: `given`, $REELDROP_CONFIG, ./config.yaml or SYSTEM_WIDE.

    A folder stands for the config.yaml in it.

    Raises:
        ConfigError: there is none.
    """
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is not None:
        return named / NAME if named.is_dir() else named
    for path in (Path.cwd() / NAME, SYSTEM_WIDE):
        if path.exists():
            return path
    problem = f"there is no {NAME} in {Path.cwd()}"
    remedy = f"make one with `reeldrop init`, or name one with --config or ${ENVIRONMENT}"
    raise ConfigError(Mistake(problem, remedy))


def load(path: Path) -> Config:
    """Return the settings of a config.yaml.

    Raises:
        ConfigError: it has every mistake that was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = "make one with `reeldrop init`, or name another with --config"
        if isinstance(error, PermissionError):
            remedy = "run this as a user who may read it, such as the one of the service"
        mistake = Mistake(f"can't be read: {error.strerror}", remedy, file=str(path))
        raise ConfigError(mistake) from None
    except UnicodeDecodeError:
        mistake = Mistake("is not UTF-8 text", "save it as UTF-8", file=str(path))
        raise ConfigError(mistake) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Return the settings in a config.yaml's text, as `load` does.

    `path` is for error messages, and relative folders start at its folder.
    """
    try:
        documents = strict_yaml.load_all(text)
    except YamlError as error:
        raise ConfigError(*error.in_file(path)) from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        problem = "a config.yaml is one list of `key: value` lines"
        raise ConfigError(Mistake(problem, "see `reeldrop init`", file=str(path)))
    root = documents[0]
    values, faults = builtin.merged(strict_yaml.plain(root))
    found = [mistakes.placed(root, path, *fault) for fault in faults]
    try:
        loaded = Config.model_validate(values, context={"base": path.absolute().parent})
    except pydantic.ValidationError as error:
        raise ConfigError(*found, *mistakes.of(error, root, path)) from None
    if found:
        raise ConfigError(*found)
    return loaded


def placed(error: FileError, path: Path) -> FileError:
    """Return an error that came up with a model, with the places of its keys in a config.yaml."""
    try:
        root = strict_yaml.load_all(path.read_text(encoding="utf-8"))[0]
    except (OSError, ValueError, LookupError, YamlError):  # it was changed meanwhile
        return error
    return type(error)(*(mistakes.with_place(one, root, path) for one in error.mistakes))


@contextlib.contextmanager
def placing(path: Path | None) -> Iterator[None]:
    """Give errors that come up with a model the places of their keys in a config.yaml.

    path: None for the one that is found
    """
    try:
        yield
    except (ConfigError, Unavailable) as error:
        raise placed(error, find(path)) from None
