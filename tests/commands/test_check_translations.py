"""`reeldrop check FILE` on texts that need a translation: what would be rendered, and why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.rules import CAPABILITIES
from reeldrop.base.job import Prompt
from reeldrop.commands import check_translations
from reeldrop.commands.check_file import check_file
from reeldrop.config import config
from reeldrop.store import described
from reeldrop.translation import process

ZH_EN = Path(__file__).parents[1] / "translation" / "zh_en"
ANSWERS = """while read -r line; do case "$line" in *999*) echo '{"text": "..."}';;
    *) echo '{"text": "word"}';; esac; done"""
"""A stand-in for the process that translates."""


def test_a_file_with_a_text_that_cannot_be_translated_makes_no_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its JSON; its problems say why."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    text = f"model: m\nmodels: {{m: {{path: x}}}}\ntranslate: {{zh: {{path: {ZH_EN}}}}}"
    settings = config.parse(text, tmp_path / "config.yaml")
    settings.spool.mkdir()
    described.note(settings.spool, "m", settings.models["m"].origin, CAPABILITIES)
    file = tmp_path / "a.txt"
    for prompt, videos in (("一", 1), ("坏999", 0)):
        file.write_text(prompt)
        assert (0 if videos else 1) == check_file(settings, file, as_json=True)
        found = json.loads(capsys.readouterr().out)
        assert (videos, bool(videos)) == (found["videos"], not found["problems"])


def test_what_is_translated_in_part_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and the key that mends it; each text once, however many prompts have it."""
    monkeypatch.setattr(process, "COMMAND", ("sh", "-c", ANSWERS))
    settings = config.parse(f"translate: {{zh: {{path: {ZH_EN}}}}}", tmp_path / "config.yaml")
    unwanted = (("negative_prompt", "坏999。二"),)
    prompts = [
        Prompt(number, text, "ms-1.7b", unwanted, 0, 8.0, ("mp4",))
        for number, text in enumerate(["一", "一。坏999", "坏999"])
    ]
    found = check_translations.of(prompts, settings)
    assert [
        ("一", "word", False),
        ("坏999。二", "坏999。 word", True),
        ("一。坏999", "word 坏999", True),
        ("坏999", "", True),
    ] == [(one.text, one.translated, one.fails) for one in found]
    told = [str(one) for one in found]
    assert "zh: 一 -> word" == told[0]
    why = "(a sentence of its negative prompt can't be translated: the translation is empty: 坏999"
    assert told[1].startswith(f"zh: 坏999。二 -> 坏999。 word {why}")
    assert "`translated_negative_prompt: ...`" in told[1]
    assert told[2].startswith("zh: 一。坏999 -> word 坏999 (a sentence of its prompt can't be")
    assert told[3].startswith("zh: 坏999 -> its prompt can't be translated")
