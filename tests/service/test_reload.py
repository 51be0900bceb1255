"""config.yaml is read again while the daemon runs: valid settings are used, others refused."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
from harness.fakes import save_tiny_pipeline
from harness.processes import DEADLINE_SECONDS, FAULTY, await_that, start
from harness.site import Daemon, Hold, Site, make_site
from harness.zygote import REELDROP
from reeldrop.video.synthetic import DIGITAL_SOURCE_TYPE


@dataclass
class Live:
    """A running daemon, what holds its renders, and its first config.yaml."""

    site: Site
    daemon: Daemon
    hold: Hold
    config: str

    def write(self, before: str, after: str) -> None:
        """Write the first config.yaml with one text replaced."""
        assert before in self.config
        (self.site.folder / "config.yaml").write_text(self.config.replace(before, after))

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.site.command("reload")

    def frames(self, name: str) -> int:
        """Render a prompt file, and return the number of frames."""
        self.site.drop(f"{name}.txt", f"{name}\n")
        await_that(lambda: self.ended(f"{name}.txt"), f"the end of {name}.txt")
        with av.open(str(self.site.results / name / f"{name}.mp4")) as container:
            return sum(1 for _ in container.decode(video=0))

    def ended(self, prompt_file: str) -> list[dict[str, Any]]:
        ends = self.daemon.events("job_ended")
        return [event for event in ends if event["prompt_file"] == prompt_file]

    def is_rendering(self, prompt_file: str) -> bool:
        """Return whether a step of a prompt file is done."""
        status = json.loads((self.site.spool / "status.json").read_text())
        now = status["rendering"]
        return now is not None and now["prompt_file"] == prompt_file and now["step"] > 0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Live]:
    """A daemon with two profiles; one is in use."""
    site = make_site(tmp_path_factory.mktemp("reload") / "site", tiny_pipeline)
    second = save_tiny_pipeline(site.folder / "second", seed=1)
    with (site.folder / "config.yaml").open("a") as config:
        config.write(f"  second: {{path: {second}, defaults: {{height: 32, width: 32}}}}\n")
    hold = Hold(site.folder / "hold")
    daemon = Daemon(site, hold.program)
    daemon.wait_for("ready")
    yield Live(site, daemon, hold, (site.folder / "config.yaml").read_text())
    daemon.process.kill()
    daemon.process.wait()


def test_good_settings_are_used(live: Live) -> None:
    """From the next job on; an unchanged model stays loaded."""
    assert 4 == live.frames("before")
    live.write("num_frames: 4", "num_frames: 6")
    assert 0 == live.reload().returncode
    live.daemon.wait_for("reloaded")
    assert 6 == live.frames("after")
    assert 1 == len(live.daemon.events("model_loaded"))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("settle_seconds: 0.1", "settle_second: 0.1", "unknown key 'settle_second'"),
        ("settle_seconds: 0.1", "results: elsewhere", "can't move to"),
        ("num_frames: 32", "num_framse: 32", "num_framse"),
        ("num_frames: 32", "num_frames: 2", "num_frames is 4, more than tiny allows"),
    ],
)
def test_bad_settings_are_refused(before: str, after: str, problem: str, live: Live) -> None:
    """The message has the mistake, and the daemon continues as before."""
    live.write(before, after)
    refused = live.reload()
    assert (78, True) == (refused.returncode, problem in refused.stderr), refused.stderr
    assert 1 == refused.stderr.count("config.yaml")
    assert live.daemon.process.poll() is None


def test_bad_settings_are_refused_by_the_daemon_itself(live: Live) -> None:
    """After a plain SIGHUP, log and status have the mistake."""
    count = len(live.daemon.events("reload_refused"))
    (live.site.folder / "config.yaml").write_text("inbox: [\n")
    live.daemon.process.send_signal(signal.SIGHUP)
    event = live.daemon.wait_for("reload_refused", count + 1)
    assert "line 2" in event["reason"]
    status = live.site.spool / "status.json"  # written after the log
    await_that(lambda: event["reason"] == json.loads(status.read_text())["refused"], "the status")
    live.write("", "")
    assert "config.yaml was refused" in live.site.command("status").stdout
    assert 6 == live.frames("unmoved")


def test_only_a_model_that_changes_is_loaded_anew(live: Live) -> None:
    """The others stay; the daemon's own does not even render its warm-up again."""

    def second(name: str) -> None:
        live.site.drop(f"{name}.yaml", f"prompt: {name}\nmodel: second\nnum_inference_steps: 1\n")
        await_that(lambda: live.ended(f"{name}.yaml"), f"the end of {name}.yaml")

    def loaded() -> list[str]:
        return [event["model"] for event in live.daemon.events("model_loaded")]

    second("once")
    assert ["tiny", "second"] == loaded()
    live.write(
        "defaults: {height: 32, width: 32}", "tiling: true, defaults: {height: 32, width: 32}"
    )
    assert 0 == live.reload().returncode
    live.daemon.wait_for("model_released")
    second("again")
    assert 4 == live.frames("own")
    assert ["tiny", "second", "second"] == loaded()
    assert "tiling: true" in (live.site.results / "again/again.yaml").read_text()


def test_files_say_that_they_are_synthetic_unless_turned_off(live: Live) -> None:
    """In the video, by default."""

    def is_marked(name: str) -> bool:
        live.frames(name)
        video = (live.site.results / name / f"{name}.mp4").read_bytes()
        return DIGITAL_SOURCE_TYPE.encode() in video

    assert is_marked("marked")
    live.write("settle_seconds", "synthetic_mark: false\nsettle_seconds")
    assert 0 == live.reload().returncode
    assert not is_marked("unmarked")


def test_another_model_follows_when_no_job_is_in_hand(live: Live) -> None:
    """Begun jobs end with the old model; waiting ones get the new one."""
    live.hold.hold("long")
    live.site.drop("long.yaml", "prompt: long\n")
    await_that(lambda: live.is_rendering("long.yaml"), "a step of long.yaml")
    live.site.drop("next.txt", "next\n")
    live.write("model: tiny", "model: second")
    assert 0 == live.reload().returncode
    live.hold.release()
    await_that(lambda: live.ended("next.txt"), "the end of next.txt")
    order = [
        (event["event"], event.get("prompt_file", event.get("model")))
        for event in live.daemon.events()
        if event["event"] in ("job_ended", "reloaded", "model_loaded")
    ]
    expected = [
        ("job_ended", "long.yaml"),
        ("reloaded", "second"),
        ("model_loaded", "second"),
        ("job_ended", "next.txt"),
    ]
    assert expected == order[-4:]
    assert "model: tiny" in (live.site.results / "long/long.yaml").read_text()
    assert "model: second" in (live.site.results / "next/next.yaml").read_text()


def test_a_model_that_cannot_be_loaded_is_refused(live: Live) -> None:
    """The old model is loaded again, and nothing that waits is lost."""
    count = len(live.daemon.events("reload_refused"))
    live.write("model: tiny\nmodels:", "model: third\nmodels:\n  third: {path: nowhere}")
    assert 0 == live.reload().returncode
    event = live.daemon.wait_for("reload_refused", count + 1)
    assert "third can't be loaded" in event["reason"]
    live.site.drop("still.txt", "still\n")
    await_that(lambda: live.ended("still.txt"), "the end of still.txt")
    assert "model: second" in (live.site.results / "still/still.yaml").read_text()
    assert [] == live.daemon.events("job_failed")


def test_what_waits_is_read_by_the_new_settings(site: Site, daemon: Callable[..., Daemon]) -> None:
    """What can't be rendered any more is refused at once, not at its turn."""
    running = daemon()
    running.wait_for("ready")
    site.drop("PAUSE", "")
    site.drop("a.txt", "a\n")
    site.drop("b.yaml", "prompt: b\nnum_frames: 16\n")

    def waits(count: str) -> bool:
        known = json.loads((site.spool / "status.json").read_text())["waiting"]
        return any(w["prompt_file"] == "a.txt" and count in w["reason"] for w in known)

    await_that(lambda: waits("its turn"), "the file in the line")
    config = site.folder / "config.yaml"
    several = "defaults: {num_videos_per_prompt: 3,"
    text = config.read_text().replace("num_frames: 32", "num_frames: 8")
    config.write_text(text.replace("defaults: {", f"{several} "))
    assert 0 == site.command("reload").returncode
    assert "b.yaml" == running.wait_for("job_failed")["prompt_file"]
    await_that(lambda: waits("3 videos"), "the number of its videos now")
    (site.inbox / "PAUSE").unlink()
    assert 3 == running.wait_for("job_ended")["videos"]


def test_without_a_daemon_there_is_nothing_to_reload(site: Site) -> None:
    """Exit code 75."""
    run = site.command("reload")
    assert (75, True) == (run.returncode, "no daemon is at work" in run.stderr)


def test_who_closes_the_terminal_ends_the_daemon(site: Site) -> None:
    """Then SIGHUP means that nobody is there any more."""
    ours, theirs = pty.openpty()
    path = site.folder / "terminal.log"
    with path.open("w") as log:
        process = start(
            [*REELDROP, "run", "--config", str(site.folder / "config.yaml")],
            stdin=theirs,
            stdout=log,
            stderr=log,
        )
    os.close(theirs)
    try:
        await_that(lambda: '"ready"' in path.read_text(), "ready")
        process.send_signal(signal.SIGHUP)
        await_that(lambda: '"reloaded"' in path.read_text(), "the same as without a terminal")
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert 0 == process.wait(DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert '"signal": "SIGHUP"' in path.read_text()


def test_nothing_waits_for_the_compiler_in_the_warm_up(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """A reload and a stop take effect at once, and the daemon is ready without it."""
    sign = site.folder / "compiles"
    program = (*FAULTY, f"--hang-compiling={sign}")
    config = site.folder / "config.yaml"
    speed = "    speed: {compile: whole}\n    variant:"
    config.write_text(config.read_text().replace("    variant:", speed))
    running = daemon(program)
    await_that(sign.exists, "the compiler")
    assert [] == running.events("ready")
    config.write_text(config.read_text().replace("num_frames: 4", "num_frames: 6"))
    assert 0 == site.command("reload").returncode
    running.wait_for("reloaded")
    running.wait_for("ready")
    assert 0 == running.stop()
    sign.unlink()
    running = daemon(program)
    await_that(sign.exists, "the compiler")
    assert (0, []) == (running.stop(), running.events("ready"))
