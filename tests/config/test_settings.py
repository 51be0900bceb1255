"""Settings that are replaced while the daemon runs; a list supplies the readings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness.site import CONFIG
from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.config import config as configuration
from reeldrop.config import profiles
from reeldrop.config.config import Config
from reeldrop.config.settings import Settings
from reeldrop.render import pipeline


class File:
    """A config.yaml with the tiny profile."""

    def __init__(self, path: Path, tiny_pipeline: Path) -> None:
        self.path = path
        self.text = CONFIG.format(pipeline=tiny_pipeline)
        self.write("", "")

    def write(self, before: str, after: str) -> None:
        self.path.write_text(self.text.replace(before, after))

    def read(self) -> tuple[Config, str]:
        return configuration.load(self.path), "tiny"


@pytest.fixture
def file(tmp_path: Path, tiny_pipeline: Path) -> File:
    """A valid one."""
    return File(tmp_path / "config.yaml", tiny_pipeline)


def learn(settings: Settings) -> None:
    """Set the rules of the tiny profile, as after loading it."""
    loaded = pipeline.load(profiles.source("tiny", settings.config))
    settings.rules["tiny"] = profiles.model_rules("tiny", settings.config, loaded.capabilities)


def test_what_is_known_of_a_pipeline_stays_known(file: File) -> None:
    """With the new limits, and without loading it again."""
    settings = Settings(file.read)
    learn(settings)
    file.write("num_frames: 32", "num_frames: 9")
    assert settings.read_again() is not None
    assert not settings.change()
    rules = settings.rules["tiny"]
    assert rules is not None
    assert (None, 9) == rules.limits["num_frames"]
    assert not settings.are_on_trial


def test_another_profile_that_changes_leaves_the_own_model_alone(file: File) -> None:
    """Nothing is on trial: what prompts may ask of the other one has to be learnt anew."""
    file.text += "  other: {path: elsewhere}\n"
    file.write("", "")
    settings = Settings(file.read)
    learn(settings)
    own = settings.rules["tiny"]
    settings.rules["other"] = own
    file.write("elsewhere", "elsewhere, tiling: true")
    assert settings.read_again() is not None
    assert not settings.change()
    assert (own, None) == (settings.rules["tiny"], settings.rules["other"])
    assert not settings.are_on_trial


def test_the_renderers_of_a_cluster_are_made_anew_if_any_profile_changes(file: File) -> None:
    """Else those that join later would render by the settings of the start."""
    file.text = "engine: ray\n" + file.text + "  other: {path: elsewhere}\n"
    file.write("", "")
    settings = Settings(file.read)
    learn(settings)
    for after, is_another in (
        ("elsewhere, tiling: true", True),
        ("elsewhere, tiling: true, limits: {num_frames: 9}", False),
        ("elsewhere, tiling: true, max_batch_size: 3", True),
    ):
        file.write("elsewhere", after)
        assert settings.read_again() is not None
        assert is_another == settings.change()


def test_what_does_not_fit_is_refused_also_where_it_was_not_known_yet(file: File) -> None:
    """Settings that were read before the model was loaded are checked again."""
    settings = Settings(file.read, lambda error: configuration.placed(error, file.path))
    file.write("num_frames: 32", "num_framse: 32")
    assert settings.read_again() is not None
    learn(settings)
    assert not settings.change()
    place = f"{file.path}, line [0-9]+, column [0-9]+, key 'models.tiny.limits.num_framse': "
    assert re.match(place, settings.refused)
    assert "num_frames" in settings.config.models["tiny"].limits
    assert not settings.are_changing


def test_another_model_is_on_trial_until_it_is_loaded(file: File) -> None:
    """If it can't be loaded, the old settings return."""
    settings = Settings(file.read)
    learn(settings)
    before = settings.config
    file.write("variant: fp16", "variant: fp8")
    settings.read_again()
    assert settings.change()
    assert settings.are_on_trial
    assert settings.change_back(ConfigError(Mistake("it has no such variant")))
    assert (before, "it has no such variant") == (settings.config, settings.refused)
    assert not settings.change_back(ConfigError(Mistake("nothing is before them")))
