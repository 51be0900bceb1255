"""Several models in one daemon: pipelines of two classes, and one that is broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.fakes import save_tiny_wan
from harness.processes import FAULTY, await_that
from harness.site import Daemon, Site
from reeldrop.base.residents import HEADROOM
from reeldrop.render import weights
from reeldrop.render.source import ModelSource


@pytest.fixture
def several(site: Site, wan_pipeline: Path) -> Site:
    """A site with three profiles: `tiny`, its own; `wan`; `broken`, a missing folder."""
    wan = f"{{path: {wan_pipeline}, defaults: {{num_frames: 5, height: 32, width: 32}}}}"
    with (site.folder / "config.yaml").open("a") as config:
        config.write(f"  wan: {wan}\n  broken: {{path: nowhere, variant: fp16}}\n")
    return site


def status(site: Site) -> dict[str, Any]:
    """Return the daemon's last report."""
    found: dict[str, Any] = json.loads((site.spool / "status.json").read_text())
    return found


def ended(daemon: Daemon) -> list[str]:
    """Return the prompt files of the ended jobs."""
    return [event["prompt_file"] for event in daemon.events("job_ended")]


def loads(daemon: Daemon) -> list[str]:
    """Return the models that were put onto the device."""
    return [event["model"] for event in daemon.events("fast_path")]


def test_models_are_chosen_by_file_and_folder_and_stay_loaded(
    several: Site, daemon: Callable[..., Daemon]
) -> None:
    """A model that can't be loaded fails only its own prompts, with the reason."""
    several.drop("films/_defaults.yaml", "model: wan\nnum_inference_steps: 1\n")
    for number in range(3):
        several.drop(f"films/{number}.yaml", f"prompt: wan {number}\n")
        several.drop(f"{number}.yaml", f"prompt: tiny {number}\n")
    several.drop("broken.yaml", "prompt: a horse\nmodel: broken\n")
    several.drop(
        "both.yaml", "prompts: [{prompt: a}, {prompt: b, model: wan, num_inference_steps: 1}]\n"
    )
    started = daemon()
    await_that(lambda: len(ended(started)) == 7, "the good files")
    started.wait_for("job_failed")
    assert {"films/0.yaml", "films/1.yaml", "films/2.yaml", "0.yaml", "1.yaml", "2.yaml",
            "both.yaml"} == {*ended(started)}  # fmt: skip
    assert ["tiny", "wan"] == loads(started)
    kinds = {
        path.stem: "WanPipeline" in path.read_text()
        for path in several.results.rglob("*.yaml")
        if path.with_suffix(".mp4").exists()
    }
    expected = {f"wan_{n}": True for n in range(3)} | {f"tiny_{n}": False for n in range(3)}
    assert {**expected, "a": False, "b": True} == kinds
    report = (several.failed / "broken.yaml.error.txt").read_text()
    assert "the model broken can't be loaded: there is no folder" in report
    assert re.search(r"config.yaml, line \d+, column \d+, key 'models.broken.path'", report)
    (failed,) = started.events("model_failed")
    assert "broken" == failed["model"]
    await_that(lambda: len(status(several)["models"]) == 3, "the models in the status")
    told = {model["name"]: model for model in status(several)["models"]}
    assert ["memory", "memory", ""] == [told[n]["place"] for n in ("tiny", "wan", "broken")]
    assert "there is no folder" in told["broken"]["problem"]
    assert "broken" in several.command("status").stdout
    assert 0 == started.stop()


def test_models_are_exchanged_where_memory_is_for_one(
    several: Site, daemon: Callable[..., Daemon], tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """Prompts of the loaded model go first, until others have waited long enough."""
    wan = save_tiny_wan(several.folder / "large", layers=20)
    config = several.folder / "config.yaml"
    config.write_text(config.read_text().replace(str(wan_pipeline), str(wan)))
    sizes = [weights.size(ModelSource("x", str(path))) for path in (tiny_pipeline, wan)]
    room = int(HEADROOM * max(sizes)) + min(sizes) // 4
    several.configure("model_wait_seconds: 1000")
    drop_for_both(several, range(4))
    started = daemon(program=(*FAULTY, f"--memory={room}"))
    await_that(lambda: len(ended(started)) == 8, "all files")
    assert ["tiny", "wan"] == loads(started)
    assert ["tiny"] == [event["model"] for event in started.events("model_released")]
    assert {f"{number}a.yaml" for number in range(4)} == {*ended(started)[:4]}
    several.configure("model_wait_seconds: 0")
    assert 0 == several.command("reload").returncode
    drop_for_both(several, range(4, 7))
    await_that(lambda: len(ended(started)) == 14, "the other files")
    assert len(loads(started)) > 3
    assert 0 == started.stop()


def drop_for_both(site: Site, numbers: range) -> None:
    """Drop a file for each model and number, sorted by number."""
    for number in numbers:
        site.drop(f"{number}a.yaml", f"prompt: a {number}\nnum_inference_steps: {number + 1}\n")
        settings = f"model: wan\nnum_inference_steps: {number + 1}\n"
        site.drop(f"{number}b.yaml", f"prompt: b {number}\n{settings}")


def test_a_daemon_goes_on_without_its_own_model(
    several: Site, daemon: Callable[..., Daemon], tiny_pipeline: Path
) -> None:
    """Prompts that name no model wait, others are rendered; then the model is repaired."""
    several.configure("model: broken")
    waits = several.drop("waits.yaml", "prompt: own\nnum_frames: 2\nheight: 32\nwidth: 32\n")
    several.drop("goes.yaml", "prompt: other\nmodel: tiny\n")
    started = daemon()
    assert "broken" == started.wait_for("model_failed")["model"]
    started.wait_for("ready")
    await_that(lambda: ended(started) == ["goes.yaml"], "the other model's file")
    assert waits.exists() or list(several.spool.glob("active/*/waits.yaml"))
    await_that(lambda: _why(several, "waits.yaml"), "the reason in the status")
    assert "broken can't be used: " in _why(several, "waits.yaml")
    os.symlink(tiny_pipeline, several.folder / "nowhere")
    await_that(lambda: len(ended(started)) == 2, "the file that waited")
    assert (several.results / "waits/own.mp4").exists()
    assert started.process.poll() is None
    assert [] == started.events("job_failed")


def _why(site: Site, name: str) -> str:
    """Return why a prompt file waits; empty if it does not wait for a model."""
    found = (w["reason"] for w in status(site)["waiting"] if w["prompt_file"] == name)
    return next((reason for reason in found if "can't be used" in reason), "")


def test_a_mistake_in_the_profile_of_another_model_is_told_with_its_line(
    several: Site, tiny_pipeline: Path
) -> None:
    """In the report on the prompt that has asked for the model."""
    config = several.folder / "config.yaml"
    odd = f"  odd: {{path: {tiny_pipeline}, scheduler: Nix}}\n"
    config.write_text(config.read_text() + odd)
    several.drop("a.yaml", "prompt: a\nmodel: odd\n")
    assert 1 == several.drain().returncode
    line = len(config.read_text().splitlines())
    told = (several.results / "_failed/a.yaml.error.txt").read_text()
    assert "diffusers has no scheduler Nix" in told
    assert f"config.yaml, line {line}, column" in " ".join(told.split())


def test_without_other_models_a_broken_one_ends_the_daemon(site: Site) -> None:
    """78, with the reason. So does a drain that has other models."""
    config = site.folder / "config.yaml"
    good = config.read_text()
    profile = good[good.index("    path:") :].splitlines()[0]
    config.write_text(good.replace(profile, "    path: nowhere"))
    site.drop("a.txt", "a horse\n")
    assert 78 == site.command("run").returncode
    config.write_text(f"{config.read_text()}  other:\n{profile}\n")
    assert 78 == site.drain().returncode
    assert (site.inbox / "a.txt").exists()


def test_the_memory_is_given_back_when_nothing_is_to_do(
    several: Site, daemon: Callable[..., Daemon]
) -> None:
    """After `idle_unload_minutes`; the next prompt loads its model again."""
    several.configure("idle_unload_minutes: 0.005")
    several.drop("1.yaml", "prompt: first\n")
    several.drop("2.yaml", "prompt: second\nmodel: wan\nnum_inference_steps: 1\n")
    started = daemon()
    await_that(lambda: len(ended(started)) == 2, "the first files")
    await_that(
        lambda: {event["model"] for event in started.events("model_released")} == {"tiny", "wan"},
        "both models to leave",
    )
    await_that(lambda: not any(m["place"] for m in status(several)["models"]), "the status")
    before = loads(started).count("tiny")
    several.drop("3.yaml", "prompt: third\n")
    await_that(lambda: "3.yaml" in ended(started), "the next file")
    assert before + 1 == loads(started).count("tiny")
    assert 0 == started.stop()


def test_a_model_that_goes_away_holds_up_only_its_own_prompts(
    several: Site, daemon: Callable[..., Daemon], tmp_path: Path, tiny_pipeline: Path
) -> None:
    """Its files disappear after it has left the memory, and come back later."""
    own = shutil.copytree(tiny_pipeline, tmp_path / "own")
    config = several.folder / "config.yaml"
    config.write_text(config.read_text().replace(str(tiny_pipeline), str(own)))
    several.configure("idle_unload_minutes: 0.005")
    started = daemon()
    started.wait_for("model_released")
    own.rename(tmp_path / "away")
    several.drop("1.yaml", "prompt: first\n")
    several.drop("2.yaml", "prompt: second\nmodel: wan\nnum_inference_steps: 1\n")
    await_that(lambda: ended(started) == ["2.yaml"], "the other model's file")
    started.wait_for("model_failed")
    (tmp_path / "away").rename(own)
    await_that(lambda: "1.yaml" in ended(started), "the file that waited")
    assert [] == started.events("job_failed")
    assert [] == started.events("video_failed")
    assert 0 == started.stop()


def attempts(site: Site) -> list[list[int]]:
    """Return the prompts in hand at each recorded attempt at the jobs in hand."""
    records = site.spool.glob("active/*/attempts.json")
    return [found["numbers"] for path in records for found in json.loads(path.read_text())]


def test_a_model_that_is_loaded_again_is_no_part_of_a_batch(
    several: Site, daemon: Callable[..., Daemon], wan_pipeline: Path
) -> None:
    """A kill meanwhile is blamed on no prompt, and a stop does not wait for it."""
    wan = several.folder / "wan"
    wan.symlink_to(wan_pipeline)
    config = several.folder / "config.yaml"
    config.write_text(config.read_text().replace(str(wan_pipeline), str(wan)))
    several.configure("idle_unload_minutes: 0.005")
    several.drop("_defaults.yaml", "model: wan\nnum_inference_steps: 1\n")
    for name, ending, code in (("1", signal.SIGKILL, -signal.SIGKILL), ("2", signal.SIGTERM, 0)):
        several.drop(f"{name}.yaml", "prompt: at once\n")
        started = daemon(program=(*FAULTY, f"--hang-loading={wan}"))
        started.wait_for("model_released", 2)
        assert [] == started.events("video_failed")
        (several.folder / "wan.hangs").touch()
        several.drop(f"{name}-again.yaml", "prompts: [one, two]\n")
        await_that(lambda: attempts(several), "the second load")
        assert code == started.stop(ending)
        assert ([[]] if code else []) == attempts(several)
        (several.folder / "wan.hangs").unlink()
    assert 0 == several.drain().returncode
    assert 6 == len(list(several.results.rglob("*.mp4")))
