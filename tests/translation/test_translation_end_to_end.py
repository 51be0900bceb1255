"""Chinese prompts through a real daemon and a real translator, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.site import Site
from reeldrop.video.identity import digest

ZH_EN = Path(__file__).parent / "zh_en"
POEMS = {
    "大鹏一日同风起": "A great bird rises with the wind",
    "两只黄鹂鸣翠柳": "Two orioles sing in a green willow",
    "欲渡黄河冰塞川": "Ice blocks the river before a boat",
}


def drop(site: Site, name: str, **settings: Any) -> None:
    """Drop a YAML prompt file with equal seeds."""
    text = yaml.safe_dump({"seed": 3, "guidance_scale": 5.0, **settings}, allow_unicode=True)
    site.drop(f"{name}.yaml", text)


@pytest.fixture
def drained(site: Site) -> Site:
    """A site with the poems in Chinese, in English, and one that can't be translated."""
    site.configure(f"translate: {{zh: {{path: {ZH_EN}}}, ja: {{path: nowhere}}}}")
    drop(site, "poems", prompts=[*POEMS, "a red ball"], negative_prompt="水印")
    drop(site, "english", prompts=[*POEMS.values(), "a red ball"], negative_prompt="watermark")
    drop(site, "japanese", prompt="赤いボール")
    drop(site, "as_it_stands", prompt="大鹏一日同风起", translate=False)
    assert 1 == site.drain().returncode  # one has failed
    return site


def sidecar(site: Site, folder: str, prompt: str) -> dict[str, Any]:
    """Return what the sidecar of a video says."""
    path = site.results / folder / f"{prompt.replace(' ', '_')}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def pictures(site: Site, folder: str, prompt: str) -> str:
    """Return a digest of the pictures of a video."""
    return digest(site.results / folder / f"{prompt.replace(' ', '_')}.mp4")


def test_what_is_rendered_is_the_english(drained: Site) -> None:
    """Names stay Chinese, sidecars have both texts, and the frames are those of the English."""
    for chinese, english in POEMS.items():
        found = sidecar(drained, "poems", chinese)
        assert (chinese, english) == (found["prompt"], found["translated_prompt"])
        assert "watermark" == found["translated_negative_prompt"]
        assert {"zh": "zh_en"} == found["rendered"]["translated"]
        assert pictures(drained, "english", english) == pictures(drained, "poems", chinese)
    plain = sidecar(drained, "poems", "a red ball")
    assert ("watermark", None) == (
        plain["translated_negative_prompt"],
        plain.get("translated_prompt"),
    )
    assert pictures(drained, "english", "a red ball") == pictures(drained, "poems", "a red ball")
    untouched = sidecar(drained, "as_it_stands", "大鹏一日同风起")
    assert (False, None) == (untouched["translate"], untouched.get("translated_prompt"))
    report = (drained.failed / "japanese.yaml.error.txt").read_text(encoding="utf-8")
    assert "its prompt can't be translated" in report
    assert "nowhere has no config.json" in report
    assert "config.yaml, line " in report
    assert "translated_prompt: ..." in report
    refused = drained.command("check", str(drained.failed / "japanese.yaml"))
    assert 1 == refused.returncode
    assert "nowhere has no config.json" in refused.stderr
    assert "config.yaml, line " in refused.stderr
    drained.configure("render_untranslated: true")
    assert 0 == drained.command("check", str(drained.failed / "japanese.yaml")).returncode
