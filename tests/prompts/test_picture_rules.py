"""What prompt files may say of how a picture is fitted."""

from __future__ import annotations

import dataclasses

import pytest
from harness.rules import CAPABILITIES
from reeldrop.base.job import CROP, IMAGE_FIT, PAD
from reeldrop.prompts.rules import ModelRules, SettingsRefused

TAKES = dataclasses.replace(
    CAPABILITIES,
    settings={**CAPABILITIES.settings, IMAGE_FIT: str},
    defaults={**CAPABILITIES.defaults, IMAGE_FIT: CROP},
    pictures={"image": False},
)


def test_a_picture_is_cropped_or_padded_and_never_stretched() -> None:
    """The profile's default goes over the rule's own, and the prompt's over that."""
    plain = ModelRules("m", TAKES, {}, {})
    padded = ModelRules("m", TAKES, {IMAGE_FIT: PAD}, {})
    assert CROP == plain.resolve({"prompt": "a"})[IMAGE_FIT]
    assert PAD == padded.resolve({"prompt": "a"})[IMAGE_FIT]
    assert CROP == padded.resolve({"prompt": "a", IMAGE_FIT: CROP})[IMAGE_FIT]
    with pytest.raises(SettingsRefused) as caught:
        plain.resolve({"prompt": "a", IMAGE_FIT: "stretch"})
    [fault] = caught.value.faults
    assert (IMAGE_FIT, True) == (fault.key, "'stretch'" in fault.problem)
    assert "use crop, which cuts off what is too much, or pad, for bars" == fault.remedy
