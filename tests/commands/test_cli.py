"""The commands as people type them: output, exit codes and cost."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from harness.processes import DEADLINE_SECONDS, await_that, run, start
from harness.site import Daemon, Hold, Site, make_site
from harness.zygote import REELDROP
from reeldrop.base import durations, strict_yaml, yaml_text
from reeldrop.commands import cli, folders, output, progress, submit
from reeldrop.commands.models import Listed
from reeldrop.commands.moved import Moved, report
from reeldrop.commands.rows import Row
from reeldrop.commands.status import current, print_rendering, show_status
from reeldrop.commands.verify import Verdict
from reeldrop.config import config
from reeldrop.intake import ignored
from reeldrop.store.history import Failure, PastVideo
from reeldrop.store.status import (
    FILE_NAME,
    Model,
    Numbers,
    RendererNow,
    Rendering,
    State,
    Status,
    Waiting,
    write,
)
from rich.cells import cell_len


def reeldrop(*arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without --config."""
    return run([*REELDROP, *arguments], **kwargs)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["status"], ["history"], ["submit", "a horse"]],
    ids=" ".join,
)
def test_commands_that_do_not_render_do_not_import_torch(arguments: list[str], site: Site) -> None:
    """Nor diffusers, nor transformers, so that they answer at once."""
    probe = (
        "import sys; from reeldrop.commands import cli\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print({'torch', 'diffusers', 'transformers'} & sys.modules.keys())"
    )
    environment = {**os.environ, config.ENVIRONMENT: str(site.folder / "config.yaml")}
    ended = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False
    )
    assert (0, "set()") == (ended.returncode, ended.stdout.splitlines()[-1])


def test_init_writes_a_config_that_loads(tmp_path: Path) -> None:
    """It has every setting with a comment, and the folders exist."""
    ended = reeldrop("init", str(tmp_path / "new"))
    written = tmp_path / "new/config.yaml"
    loaded = config.load(written)
    assert (0, "ms-1.7b") == (ended.returncode, loaded.selected_model(cuda=True))
    assert [True] * 3 == [f.is_dir() for f in (loaded.inbox, loaded.results, loaded.spool)]
    assert f"reeldrop run --config {written}\n" in ended.stdout
    lines = written.read_text().splitlines()
    assert len([line for line in lines if line.strip().startswith("#")]) > 10
    readme = (loaded.inbox / "README.txt").read_text()
    controls = ("PAUSE", "PAUSE.txt", "surfing.txt.cancel", "NOW", "NIGHT", "AGAIN")
    assert [] == [name for name in controls if name not in readme]
    written.unlink()
    (loaded.inbox / "README.txt").write_text("mine\n")
    assert 0 == reeldrop("init", str(tmp_path / "new")).returncode
    assert "mine\n" == (loaded.inbox / "README.txt").read_text()


def test_the_command_that_init_names_can_be_copied(tmp_path: Path) -> None:
    """The path is quoted for a shell."""
    ended = reeldrop("init", "my films; done's", cwd=tmp_path)
    command = shlex.split(ended.stdout.splitlines()[-1])
    assert ["reeldrop", "run", "--config", "my films; done's/config.yaml"] == command


def test_the_version_is_that_of_the_package() -> None:
    """One line."""
    ended = reeldrop("--version")
    assert (0, f"reeldrop {version('reeldrop')}\n") == (ended.returncode, ended.stdout)


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """An existing config.yaml stays unchanged."""
    (tmp_path / "config.yaml").write_text("mine: true\n")
    ended = reeldrop("init", str(tmp_path))
    assert (2, "mine: true\n") == (ended.returncode, (tmp_path / "config.yaml").read_text())
    assert "is there already" in ended.stderr


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("setle_seconds: 1\n", ["'setle_seconds'", "did you mean 'settle_seconds'"]),
        ("max_attempts: many\n", ["'max_attempts'", "a whole number", "'many'"]),
        ("max_attempts: 0\n", ["'max_attempts'", "must be 1 or more, not 0"]),
        ("inbox: results/inbox\n", ["inbox", "must not be inside results"]),
        ("model: tinny\n", ["'model' is there twice", "line 6"]),
        ("x: ]", ["not YAML"]),
    ],
)
def test_a_mistake_in_the_config_is_named(extra: str, words: list[str], site: Site) -> None:
    """Exit code 78; the message has file, line, key and remedy."""
    path = site.folder / "config.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, extra]))
    ended = site.command("status")
    line = len(lines) + 1
    assert (78, "") == (ended.returncode, ended.stdout)
    assert [] == [word for word in [f"{path}, line {line}", *words] if word not in ended.stderr]


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Without a config.yaml, the message says how to make one."""
    environment = {key: value for key, value in os.environ.items() if key != config.ENVIRONMENT}
    ended = reeldrop("status", cwd=tmp_path, env=environment)
    assert (78, True) == (ended.returncode, "reeldrop init" in ended.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["submit"],
        ["submit", "a", "--set", "num_frames"],
        ["submit", "a", "--set", "format="],
        ["submit", "a", "--set", "prompt=b"],
        ["submit", "a", "--set", "seed=1", "--set", "seed=2"],
        ["submit", ""],
        ["submit", " \t"],
        ["retry"],
        ["retry", "a.txt", "--all"],
        ["history", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str], site: Site) -> None:
    """The message says what is wrong, and the inbox is empty."""
    ended = site.command(*arguments)
    assert (2, "") == (ended.returncode, ended.stdout)
    assert "rror" in ended.stderr or "reeldrop: " in ended.stderr
    assert [] == list(site.inbox.iterdir())


def test_check_says_that_all_is_well(site: Site) -> None:
    """One row for each thing that the daemon needs."""
    ended = site.command("check", "--json")
    rows = {row["what"]: row for row in json.loads(ended.stdout)}
    expected = ["config", "inbox", "results", "failed", "spool", "spool and inbox", "folders"]
    found = [what for what in rows if not what.startswith("inbox: ")]
    assert [*expected, "room", "device", "model"] == found
    assert (0, {True}) == (ended.returncode, {row["ok"] for row in rows.values()})
    assert "tiny: TextToVideoSDPipeline, float32" in rows["model"]["detail"]
    assert [] == [p for p in site.folder.rglob("*") if "check" in p.name]


def test_check_works_with_what_init_wrote(tmp_path: Path) -> None:
    """The first commands of a new user, with the config.yaml as it comes."""
    folder = tmp_path / "films"
    assert 0 == run([*REELDROP, "init", str(folder)]).returncode
    ended = run([*REELDROP, "check", "-c", str(folder), "--json"])
    assert (0, "") == (ended.returncode, ended.stderr)
    rows = {row["what"]: row for row in json.loads(ended.stdout)}
    assert {True} == {row["ok"] for row in rows.values()}
    assert rows["model"]["detail"].startswith(("bundled: ", "ms-1.7b"))


def test_check_names_what_is_wrong(site: Site) -> None:
    """A missing inbox is not made, as its share may be unmounted. A wrong path is 78."""
    path = site.folder / "config.yaml"
    path.write_text(path.read_text().replace("path: ", "path: /nowhere"))
    site.inbox.rmdir()
    (site.folder / ".stfolder").mkdir()
    ended = site.command("check")
    bad = [line for line in ended.stdout.splitlines() if line.startswith("NO\t")]
    assert (78, 3) == (ended.returncode, len(bad))
    assert (str(site.inbox) in bad[0], "/nowhere" in bad[2]) == (True, True)
    assert "is in a folder that Syncthing syncs" in bad[1]
    assert not site.inbox.exists()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HF_HUB_OFFLINE", "1", " (HF_HUB_OFFLINE forbids downloads: unset it"),
        (
            "HF_ENDPOINT",
            "http://127.0.0.1:9",
            ": [Errno 111] Connection refused (check",
        ),
    ],
)
def test_a_model_that_is_not_here(variable: str, value: str, words: str, site: Site) -> None:
    """Exit code 75, in plain words, with the remedy."""
    path = site.folder / "config.yaml"
    path.write_text("min_free_gib: 0\nmodel: far\nmodels: {far: {repository: no/such-model}}\n")
    environment = {**os.environ, "HF_HOME": str(site.folder / "hub"), variable: value}
    ended = site.command("run", env=environment)
    problem = "the model far (no/such-model) is not on this machine and could not be downloaded"
    assert (75, True) == (ended.returncode, f"{problem}{words}" in ended.stderr), ended.stderr
    assert "`path:`" in ended.stderr
    assert 500 > len(ended.stderr)


@pytest.mark.parametrize(
    ("wrong", "row", "code"),
    [
        ("no inbox", "inbox", 75),
        ("no room", "room", 75),
        ("a link", "folders", 78),
    ],
)
def test_check_and_run_end_alike(wrong: str, row: str, code: int, site: Site) -> None:
    """75 for a problem that may pass, 78 for one in config.yaml."""
    match wrong:
        case "no inbox":
            site.inbox.rmdir()
        case "no room":
            site.configure("min_free_gib: 1e6")
        case "a link":
            site.inbox.rmdir()
            (site.results / "x").mkdir(parents=True)
            site.inbox.symlink_to(site.results / "x")
    checked = site.command("check", "--json")
    bad = {found["what"]: found for found in json.loads(checked.stdout) if not found["ok"]}
    assert row in bad
    assert {code == 75} == {found["may_pass"] for found in bad.values()}
    run = site.drain()
    assert (code, code) == (checked.returncode, run.returncode), run.stderr
    assert bad[row]["detail"].split()[-1] in run.stderr


def test_a_daemon_without_its_inbox_does_not_start(site: Site) -> None:
    """Exit code 75 and the inbox's name, before anything is loaded."""
    site.inbox.rmdir()
    ended = site.command("run")
    assert (75, True) == (ended.returncode, str(site.inbox) in ended.stderr)


@pytest.mark.parametrize("arguments", [("submit", "a horse"), ("retry", "--all")])
def test_commands_do_not_make_an_inbox(arguments: tuple[str, ...], site: Site) -> None:
    """The share may be unmounted, and would hide the file. Exit code 75."""
    site.failed.mkdir(parents=True)
    (site.failed / "a.txt").write_text("a horse\n")
    (site.failed / "a.txt.error.txt").write_text("What is wrong: nothing\n")
    site.inbox.rmdir()
    ended = site.command(*arguments)
    assert (75, True) == (ended.returncode, "is the share mounted?" in ended.stderr)
    assert (False, True) == (site.inbox.exists(), (site.failed / "a.txt").exists())


def test_cancel_does_all_or_nothing(site: Site) -> None:
    """One wrong name cancels none; a repeated name counts once."""
    site.drop("a.txt", "a horse\n")
    site.drop("b.txt", "a cow\n")
    wrong = site.command("cancel", "a.txt", "nope", "b.txt")
    assert (2, 2) == (wrong.returncode, len(list(site.inbox.iterdir())))
    right = site.command("cancel", "a.txt", "a.txt", "b.txt")
    aside = [f"{n}: is cancelled and set aside, as {site.failed / n}" for n in ("a.txt", "b.txt")]
    assert (0, aside) == (right.returncode, right.stdout.splitlines())
    report = (site.failed / "a.txt.error.txt").read_text()
    assert ("reeldrop retry a.txt" in report, "Job" in report) == (True, False)


def test_what_is_cancelled_while_no_daemon_runs_is_not_begun_again(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """The next start sets the job aside without rendering a step."""
    hold = Hold(site.folder / "hold")
    hold.hold("slow")
    site.drop("slow.yaml", "prompt: slow\n")
    started = daemon(program=hold.program)
    started.wait_for("job_started")
    assert 0 == started.stop()
    cancelled = site.command("cancel", "slow.yaml")
    assert "slow.yaml: is cancelled at the next start\n" == cancelled.stdout
    events = [json.loads(line) for line in site.drain().stdout.splitlines()]
    ended = {event["event"]: event for event in events}
    assert ("job_cancelled" in ended, 0) == (True, ended["job_ended"]["attempts"])
    assert "cancelled" == ended["job_ended"]["outcome"]
    assert not any(event["level"] == "error" for event in events)


def test_what_is_cancelled_after_its_first_video_keeps_that(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """`_failed/` has only prompts without a video, so that a retry doubles nothing."""
    hold = Hold(site.folder / "hold")
    hold.hold("slow")
    site.drop("two.yaml", "prompts: [quick, {prompt: slow, num_inference_steps: 4}]\n")
    started = daemon(program=hold.program)
    started.wait_for("video_published")
    assert 0 == started.stop()
    site.command("cancel", "two.yaml")
    assert 1 == site.drain().returncode
    left = (site.failed / "two.yaml").read_text()
    assert ["prompt: slow"] == [line for line in left.splitlines() if line.startswith("prompt")]
    assert (site.results / "two/two.yaml").exists()


def test_submit_writes_a_prompt_file(site: Site) -> None:
    """With the settings of --set, under an unused name; it prints where the video will be."""
    given = ("--set", "num_frames=8", "--set", "format=gif", "--set", "negative_prompt=no fog")
    first = json.loads(site.command("submit", "a horse", *given, "--json").stdout)
    second = json.loads(site.command("submit", "a horse", "--json").stdout)
    written = Path(first["prompt_file"])
    assert {
        "prompt": "a horse",
        "num_frames": 8,
        "format": "gif",
        "negative_prompt": "no fog",
    } == strict_yaml.plain(strict_yaml.load_all(written.read_text())[0])
    assert str(site.results / "a_horse/a_horse.gif") == first["video"]
    assert str(site.inbox / "a_horse-2.yaml") == second["prompt_file"]
    assert str(site.results / "a_horse-2/a_horse.mp4") == second["video"]
    assert 2 == len(list(site.inbox.iterdir()))


def test_status_without_a_daemon(site: Site) -> None:
    """It shows what waits, and that no daemon runs."""
    site.drop("a/horse.txt", "a horse\n")
    now = json.loads(site.command("status", "--json").stdout)
    assert ("not running", None, 1) == (now["state"], now["rendering"], now["waiting_count"])
    expected = [{"prompt_file": "a/horse.txt", "reason": "the daemon is not running"}]
    assert expected == now["waiting"]
    shown = site.command("status").stdout
    assert [] == [word for word in ("not running", "a/horse.txt") if word not in shown]


def test_status_says_that_there_is_no_inbox(site: Site) -> None:
    """A missing inbox is reported, not an empty one."""
    site.inbox.rmdir()
    missing = f"there is no folder {site.inbox}; is the share mounted? If it is on none, make it"
    assert f"not running: {missing}" == site.command("status").stdout.splitlines()[0]
    assert missing == json.loads(site.command("status", "--json").stdout)["reason"]


def test_status_without_a_daemon_says_how_long_files_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the ctime of the oldest file; without files, it is not shown."""
    settings = config.load(site.folder / "config.yaml")
    assert 0 == current(settings).waiting_seconds
    since = site.drop("a.txt", "a horse\n").stat().st_ctime
    site.drop("b.txt", "a cow\n")
    monkeypatch.setattr(time, "time", lambda: since + 7200.5)
    assert 7200 == current(settings).waiting_seconds
    show_status(settings, as_json=False)
    assert "in the inbox for 2 h 0 min" in capsys.readouterr().err


def test_status_after_a_daemon_was_killed(site: Site, daemon: Callable[..., Daemon]) -> None:
    """It says that no daemon runs, and shows the last report."""
    hold = Hold(site.folder / "hold")
    hold.hold("slow")
    site.drop("slow.yaml", "prompt: slow\n")
    started = daemon(program=hold.program)
    started.wait_for("job_started")
    await_that(lambda: status(site)["rendering"], "a report")
    assert "ended" not in site.command("status").stdout
    started.stop(signal.SIGKILL)
    shown = site.command("status").stdout
    assert shown.startswith(
        "not running\n  it was ended in the middle of its work; its last report"
    )
    assert "rendering slow.yaml 1/1" in shown
    assert ("not running", 0) == (status(site)["state"], status(site)["pid"])


def test_status_after_a_daemon_has_ended_because_of_an_error(site: Site) -> None:
    """It says which; of one that somebody has stopped, it says no more."""
    settings = config.load(site.folder / "config.yaml")
    stopped, said = Status(7, State.STOPPED, "tiny", "2026-01-01T00:00:00+00:00"), []
    settings.spool.mkdir()
    for reason in ("", "the device is broken"):
        write(site.spool / FILE_NAME, dataclasses.replace(stopped, reason=reason))
        said.append(current(settings).said())
    because = "not running: it ended because of an error: the device is broken"
    assert ["not running", because] == said


def test_status_of_a_daemon_whose_report_can_not_be_read(site: Site) -> None:
    """Nobody is told that it does not run, also of a file that waits; nor if no job can be read."""
    settings = config.load(site.folder / "config.yaml")
    site.drop("a.txt", "a horse\n")
    with folders.spool_of(settings).lock.held():
        (site.spool / "active").touch()  # so that it can't be listed, as on a broken disk
        now = current(settings)
    assert State.UNKNOWN == now.state
    assert "a daemon is at work" in now.said()
    assert (Waiting("a.txt", "only the daemon knows why"),) == now.waiting


def test_status_of_a_daemon_that_does_not_report(site: Site, daemon: Callable[..., Daemon]) -> None:
    """An old report of a running process is shown with its age."""
    started = daemon()
    started.wait_for("ready")
    started.process.send_signal(signal.SIGSTOP)
    assert "has not reported" not in site.command("status").stdout
    report = site.spool / "status.json"
    now = json.loads(report.read_text())
    report.write_text(json.dumps({**now, "updated": "2020-01-01T00:00:00+00:00"}))
    shown = site.command("status").stdout
    started.process.send_signal(signal.SIGCONT)
    assert "it has not reported for" in shown


def test_a_waiting_file_is_cancelled_and_put_back(site: Site) -> None:
    """`cancel` sets it aside with a reason, `history --failed` lists it, `retry` puts it back."""
    site.drop("a/horse.txt", "a horse\n")
    site.drop("a/cow.txt", "a cow\n")
    cancelled = site.command("cancel", "horse.txt")
    assert (0, True) == (cancelled.returncode, (site.failed / "a/horse.txt").exists())
    assert ["cow.txt"] == [path.name for path in (site.inbox / "a").iterdir()]
    (failure,) = json.loads(site.command("history", "--failed", "--json").stdout)
    assert ("a/horse.txt", "it was cancelled on request") == (failure["name"], failure["reason"])
    assert "a/horse.txt" in site.command("history", "--failed").stdout
    assert 0 == site.command("retry", "horse").returncode
    assert "a horse\n" == (site.inbox / "a/horse.txt").read_text()
    assert [] == [path for path in site.failed.rglob("*") if path.is_file()]


def test_retry_of_all_puts_every_file_back(site: Site) -> None:
    """Also from folders; it says if there is none."""
    for name in ("a.txt", "b/c.txt"):
        site.drop(name, "a horse\n")
    site.command("cancel", "a.txt", "b/c.txt")
    moved = json.loads(site.command("retry", "--all", "--json").stdout)
    assert {"a.txt", "b/c.txt"} == {one["name"] for one in moved}
    assert {str(site.inbox / one["name"]) for one in moved} == {one["file"] for one in moved}
    assert [True, True] == [Path(one["file"]).exists() for one in moved]
    again = site.command("retry", "--all")
    assert (0, "", "there is nothing to retry\n") == (again.returncode, again.stdout, again.stderr)


def test_what_could_not_be_done_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """If one of several files can't be moved, the others are, and are reported."""
    done, undone = Moved("a", "is back", Path("/in/a")), Moved("b", "can't be", is_failure=True)
    assert (0, 0) == (report([], as_json=False), report([done], as_json=True))
    capsys.readouterr()
    assert 1 == report([done, undone], as_json=False)
    assert "a: is back, as /in/a\nb: can't be\n" == capsys.readouterr().out


def test_retry_does_all_or_nothing(site: Site) -> None:
    """A name of which only the report is left moves nothing, and is an error."""
    for name in ("a.txt", "b.txt"):
        site.drop(name, "a horse\n")
    site.command("cancel", "a.txt", "b.txt")
    (site.failed / "b.txt").unlink()
    ended = site.command("retry", "a.txt", "b.txt")
    report = site.failed / "b.txt.error.txt"
    assert (2, True) == (ended.returncode, f"only the report on it is: {report}" in ended.stderr)
    assert [] == list(site.inbox.iterdir())
    site.drop("a.txt", "another horse\n")
    moved = site.command("retry", "--all").stdout
    assert f"a.txt: is back in the inbox, as {site.inbox / 'a-2.txt'}\n" == moved
    assert report.exists()


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_name_that_is_not_there_is_answered_with_those_that_are(command: str, site: Site) -> None:
    """Exit code 2, and the nearest names."""
    site.drop("horse.txt", "a horse\n")
    if command == "retry":
        site.command("cancel", "horse.txt")
    ended = site.command(command, "hrose.txt")
    assert (2, True) == (ended.returncode, "there is horse.txt" in ended.stderr)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Site]:
    """A site with a running daemon, which never ends the render of a prompt with `long`."""
    site = make_site(tmp_path_factory.mktemp("live") / "site", tiny_pipeline)
    hold = Hold(site.folder / "hold")
    hold.hold("long")
    daemon = Daemon(site, hold.program)
    daemon.wait_for("ready")
    yield site
    assert 0 == daemon.stop()


def status(site: Site) -> dict[str, Any]:
    """Return the output of `reeldrop status`."""
    found: dict[str, Any] = json.loads(site.command("status", "--json").stdout)
    return found


def test_submit_waits_for_the_video(live: Site) -> None:
    """Without a terminal there is no bar, only the expected and the final path."""
    ended = live.command("submit", "a horse", "--wait")
    video = live.results / "a_horse/a_horse.mp4"
    assert (0, "") == (ended.returncode, ended.stderr)
    assert [str(live.inbox / "a_horse.yaml"), f"will be {video}", str(video)] == (
        ended.stdout.splitlines()
    )
    assert video.exists()


def test_submit_does_not_wait_until_the_file_settles(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """It writes by a rename, so the shorter wait applies."""
    site.configure("settle_seconds: 3600", "renamed_settle_seconds: 0.1")
    daemon().wait_for("ready")
    ended = site.command("submit", "a horse", "--wait")
    assert (0, "") == (ended.returncode, ended.stderr)


def test_submit_names_every_file_of_the_video(live: Site) -> None:
    """In each format that was asked for, in that order."""
    ended = live.command("submit", "a yak", "--set", "format=[gif, mp4]", "--wait", "--json")
    files = [str(live.results / f"a_yak/a_yak.{suffix}") for suffix in ("gif", "mp4")]
    assert files == json.loads(ended.stdout)["videos"]


def test_submit_says_that_no_daemon_runs(
    site: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """At once, on stderr, once; the video is there after a daemon has run."""
    command = [*REELDROP, "submit", "a horse", "--wait", "--config"]
    with (tmp_path / "said").open("wb") as said, open(os.devnull, "wb") as nothing:
        config_file = str(site.folder / "config.yaml")
        waiting = start([*command, config_file], stdout=nothing, stderr=said)
    text = "no daemon is running; waiting until one is (`reeldrop run` starts it)\n"
    await_that(lambda: (tmp_path / "said").read_text() == text, "a word")
    daemon()
    assert 0 == waiting.wait(60)
    assert text == (tmp_path / "said").read_text()
    assert (site.results / "a_horse/a_horse.mp4").exists()


def test_only_what_is_in_the_way_is_told_while_waiting() -> None:
    """Each obstacle is printed once, even if its figures change; normal states are not."""
    states = [
        (State.LOADING, "m"), (State.WARMING_UP, "m"), (State.IDLE, ""), (State.RENDERING, ""),
        (State.PAUSED, "0.5 GiB free"), (State.PAUSED, "0.4 GiB free"), (State.RENDERING, ""),
        (State.UNKNOWN, "dreaming"), (State.STOPPING, ""), (State.STOPPED, ""),
        (State.TUNING, "process 7"), (State.NOT_RUNNING, ""),
    ]  # fmt: skip
    told: list[str] = []
    observe = progress.with_trouble(lambda _status: None, told.append, "a.yaml")
    for state, reason in states:
        observe(Status(pid=1, state=state, model="m", updated="", reason=reason))
    expected = [
        "waiting: paused: 0.5 GiB free", "waiting: tuning: process 7", "no daemon is running",
    ]  # fmt: skip
    assert expected == [text.partition(";")[0] for text in told]


def test_who_waits_hears_once_that_the_model_is_in_trouble() -> None:
    """That of his own prompt file, in the inbox or begun; and again if the reason is another."""
    told: list[str] = []
    observe = progress.with_trouble(lambda _status: None, told.append, "a.yaml")
    for problem, waits in (("", ""), ("no memory", ""), ("no memory", "begun; "), ("gone", "")):
        model = Model("m", "", problem)
        waiting = (
            Waiting("b.yaml", "waits for its turn"),
            Waiting("a.yaml", f"{waits}{model.trouble}" if problem else "waits for its turn"),
        )
        others = (Model("o", "", "broken"), model)
        observe(Status(1, State.IDLE, "m", "", waiting=waiting, models=others))
    assert ["waiting: m can't be used: no memory", "waiting: m can't be used: gone"] == told


def test_the_time_left_comes_first() -> None:
    """On a narrow terminal, the end of the prompt file's name is cut."""
    rendering = Rendering("j", "a/b\x1b.txt", "p", 2, 6, 3, 8, 61.4, together=4)
    now = Status(1, State.RENDERING, "m", "", rendering, waiting_count=5)
    expected = "62 s left, step 3/8, 5 waiting, video 2/6 and 3 beside it of a/b\\x1b.txt"
    assert expected == progress.in_words(now, rendering)
    unknown = dataclasses.replace(rendering, eta_seconds=None, together=1)
    alone = Status(1, State.RENDERING, "m", "", unknown)
    assert "step 3/8, video 2/6 of a/b\\x1b.txt" == progress.in_words(alone, unknown)


def test_durations_have_two_digits_or_so() -> None:
    """In a unit that people use."""
    told = {0: "0 s", 0.4: "1 s", 98.4: "99 s", 100: "2 min", 5900: "98 min", 6000: "1 h 40 min"}
    assert told == {seconds: durations.in_words(seconds) for seconds in told}


def test_who_stops_waiting_hears_that_it_is_not_cancelled(site: Site, tmp_path: Path) -> None:
    """Ctrl-C prints the command that cancels; the prompt file stays. Exit code 130."""
    command = [*REELDROP, "submit", "a horse", "--wait", "--config"]
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        waiting = start([*command, str(site.folder / "config.yaml")], stderr=stderr)
    await_that(said.read_text, "a word that it waits")
    waiting.send_signal(signal.SIGINT)
    assert 130 == waiting.wait(60)
    assert "`reeldrop cancel a_horse.yaml` cancels it" in said.read_text()
    assert (site.inbox / "a_horse.yaml").exists()


def test_submit_says_why_there_is_no_video(site: Site, tmp_path: Path) -> None:
    """Exit code 1, and the text of the report."""
    command = [*REELDROP, "submit", "a cow", "--wait", "--json", "-c", str(site.folder)]
    with (tmp_path / "said").open("wb") as said, open(os.devnull, "wb") as nothing:
        waiting = start(command, stdout=said, stderr=nothing)
    await_that((site.inbox / "a_cow.yaml").exists, "the prompt file")
    assert 0 == site.command("cancel", "a_cow").returncode
    assert 1 == waiting.wait(60)
    answer = json.loads((tmp_path / "said").read_text())
    assert [] == answer["videos"]
    assert "cancelled on request" in answer["error"]


def test_history_lists_the_videos(live: Site) -> None:
    """Newest first, with their settings; paths are not cut."""
    for name in ("an ox", "a bee"):
        live.command("submit", name, "--wait", "--set", "seed=5")
    videos = json.loads(live.command("history", "--json").stdout)
    assert ["a bee", "an ox"] == [video["prompt"] for video in videos[:2]]
    assert (5, "tiny", "a_bee.yaml") == tuple(
        videos[0][key] for key in ("seed", "model", "prompt_file")
    )
    assert 1 == len(json.loads(live.command("history", "--json", "--limit", "1").stdout))
    assert videos[0]["files"] == [str(live.results / "a_bee/a_bee.mp4")]
    finished = datetime.fromisoformat(videos[0]["finished"])
    assert UTC.utcoffset(None) == finished.utcoffset()
    line = live.command("history").stdout.splitlines()[0].split("\t")
    assert [videos[0]["files"][0], "a bee", "tiny"] == line[:3]
    assert f"{finished.astimezone():%Y-%m-%d %H:%M:%S}" == line[4]


def test_history_says_how_many_it_leaves_out(site: Site) -> None:
    """On stderr, with the option that shows all; not with JSON."""
    for name in ("a", "b", "c"):
        past_video(site, name, prompt=name)
        site.failed.mkdir(exist_ok=True)
        (site.failed / f"{name}.txt.error.txt").write_text("What is wrong: this\n")
    for arguments in (["history"], ["history", "--failed"]):
        shown = site.command(*arguments, "--limit", "2")
        assert 2 == len(shown.stdout.splitlines())
        assert f"1 more; `reeldrop {' '.join(arguments)} --limit 3` shows all" in shown.stderr
        for quiet in (["--limit", "3"], ["--limit", "2", "--json"]):
            assert "" == site.command(*arguments, *quiet).stderr


def test_an_empty_history_says_so(site: Site) -> None:
    """A note on stderr, and no line on stdout."""
    for arguments, what in ((["history"], "videos"), (["history", "--failed"], "failed")):
        ended = site.command(*arguments)
        assert (0, "", True) == (ended.returncode, ended.stdout, f"no {what}" in ended.stderr)


def on_terminal(site: Site, *arguments: str, columns: int) -> list[str]:
    """Return the lines that a command prints on a terminal."""
    ours, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [*REELDROP, *arguments, "--config", str(site.folder / "config.yaml")]
    with os.fdopen(ours, "rb", buffering=0) as reader:
        process = start(command, stdout=terminal, cwd=site.folder, env=environment)
        assert 0 == process.wait(DEADLINE_SECONDS)
        os.close(terminal)
        return re.sub(r"\x1b\[[0-9;]*m", "", reader.read(100_000).decode()).splitlines()


def test_a_terminal_gets_a_table(site: Site) -> None:
    """With headings and relative paths; paths and times are not cut."""
    past_video(site, "a" * 70, prompt="a horse")
    lines = on_terminal(site, "history", columns=120)
    assert ["video", "prompt", "model", "seconds", "finished"] == lines[1].split()
    assert "2026-11-24" in lines[3]
    width = lines[1].index("prompt")
    path = "".join(line[:width].strip() for line in lines[3:])
    assert path.startswith("results/" + "a" * 20)
    assert 70 == path.count("a", 0, len("results/") + 70)


def test_a_narrow_terminal_gets_what_fits(site: Site) -> None:
    """Path and time are shown; no row is wider than the terminal."""
    past_video(site, "大" * 30, prompt="a horse " * 20)
    site.drop("folder/" + "long" * 20 + ".txt", "a horse\n")
    for columns, expected in (
        (40, ["video", "finished"]),
        (80, ["video", "seconds", "finished"]),
        (90, ["video", "model", "seconds", "finished"]),
        (110, ["video", "prompt", "finished"]),
    ):
        lines = on_terminal(site, "history", columns=columns)
        assert expected == lines[1].split()
        for row in (*lines, *on_terminal(site, "status", columns=columns)):
            assert cell_len(row) <= columns, row


def test_what_is_rendered_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """The time left comes first."""
    rendering = Rendering("j", "a.txt", "two\nlines", 1, 2, 3, 8, 130, together=2)
    print_rendering(Status(1, State.RENDERING, "m", "", rendering))
    assert "  about 2 min left, step 3/8\n  a.txt 1/2: two\\nlines\n" == capsys.readouterr().out


def test_lines_in_a_pipe_are_for_awk(site: Site) -> None:
    """One line a video, tabs between cells, no control character within a cell."""
    past_video(site, "x y", prompt="two\tlines\n\x1b[2J", seconds=1.25)
    shown = site.command("history").stdout
    file, prompt, model, seconds, finished = shown.removesuffix("\n").split("\t")
    assert str(site.results / "x y/v.mp4") == file
    assert ("two\\tlines\\n\\x1b[2J", "tiny", "1.2") == (prompt, model, seconds)
    assert len("2026-11-24 22:40:47") == len(finished)


def past_video(site: Site, name: str, prompt: str, seconds: float = 1.0) -> None:
    """Write the files of a rendered video into the results."""
    folder = site.results / name
    folder.mkdir(parents=True)
    rendered = {"prompt_file": "a.txt", "job": "j", "number": 1, "seconds": seconds}
    rendered["finished"] = "2026-11-24T12:00:00+00:00"
    settings = {"prompt": prompt, "seed": 1, "format": "mp4", "model": "tiny"}
    (folder / "v.yaml").write_text(yaml_text.dump({**settings, "rendered": rendered}))
    (folder / "v.mp4").touch()
    (folder / "v.jpg").touch()


def test_names_that_are_no_utf8_can_be_shown_and_named(site: Site) -> None:
    """`cancel` and `retry` take the escape or the bytes; in `_failed/` the name is portable."""
    name = os.fsdecode(b"caf\xe9.txt")
    site.drop(name, "a horse\n")
    assert "caf\\udce9.txt\tthe daemon is not running\n" in site.command("status").stdout
    cancelled = site.command("cancel", "caf\\udce9.txt", errors="surrogateescape")
    assert cancelled.stdout.startswith(f"{name}: is cancelled")
    (failure,) = json.loads(site.command("history", "--failed", "--json").stdout)
    assert "caf.txt" == failure["name"]
    assert "caf\\udce9.txt" in (site.failed / "caf.txt.error.txt").read_text()
    assert 0 == site.command("retry", name, errors="surrogateescape").returncode
    assert (site.inbox / "caf.txt").exists()


def test_status_and_cancel_of_what_is_rendered(live: Site) -> None:
    """Status shows the step and what waits; a cancelled job goes to `_failed/`, not its videos."""
    prompts = [
        "{prompt: short, num_inference_steps: 1}",
        "{prompt: long, num_inference_steps: 4}",
        "{prompt: never, num_inference_steps: 3}",
    ]
    live.drop("stopped.yaml", f"prompts: [{', '.join(prompts)}]\n")
    await_that(lambda: (live.results / "stopped/short.jpg").exists(), "the first video")
    live.drop("after.txt", "afterwards\n")

    def rendering() -> bool:
        now = status(live)
        return bool(now["rendering"] and now["rendering"]["step"] and now["waiting_count"])

    await_that(rendering, "a step")
    now = status(live)
    assert ("rendering", 1) == (now["state"], now["waiting_count"])
    assert ("stopped.yaml", "long", 2, 3, 4) == tuple(
        now["rendering"][key] for key in ("prompt_file", "prompt", "number", "count", "steps")
    )
    assert "after.txt" == now["waiting"][0]["prompt_file"]
    shown = live.command("status").stdout
    assert [] == [w for w in ("stopped.yaml 2/3: long", "step 1/4", "after.txt") if w not in shown]
    assert 0 == live.command("cancel", "stopped.yaml").returncode
    await_that(lambda: (live.results / "after/after.txt").exists(), "the next job")
    left = strict_yaml.load_all((live.failed / "stopped.yaml").read_text())
    assert ["long", "never"] == [strict_yaml.plain(document)["prompt"] for document in left]
    assert "cancelled" in (live.failed / "stopped.yaml.error.txt").read_text()
    videos = {path.name for path in (live.results / "stopped").glob("*.mp4")}
    assert ({"short.mp4"}, True) == (videos, (live.results / "stopped/stopped.yaml").exists())


def test_texts_of_strangers_are_not_markup(site: Site) -> None:
    """Rich's markup in a prompt or a file name is printed as text."""
    folder = site.results / "[red]"
    folder.mkdir(parents=True)
    (folder / "a.mp4").touch()
    (folder / "a.jpg").touch()
    rendered = "{prompt_file: a.txt, job: j, number: 1, seconds: 1.0, finished: now}"
    text = f"prompt: 'a [/b] c'\nseed: 1\nformat: mp4\nmodel: tiny\nrendered: {rendered}\n"
    (folder / "a.yaml").write_text(text)
    site.drop("[/i].txt", "a\n")
    shown = site.command("history")
    assert (0, True, True) == (
        shown.returncode,
        "a [/b] c" in shown.stdout,
        "[red]" in shown.stdout,
    )
    assert "[/i].txt" in site.command("status").stdout


DOCS = Path(__file__).parents[2] / "docs"


def test_every_command_and_option_is_documented() -> None:
    """And every documented one exists."""
    page = (DOCS / "commands.md").read_text()
    commands = {
        command.name or command.callback.__name__ for command in cli.app.registered_commands
    }
    assert commands == set(re.findall(r"^\| `reeldrop (\w+)", page, re.MULTILINE))
    options = {"--config"}
    for command in ((), *((name,) for name in commands)):
        shown = reeldrop(*command, "--help").stdout
        options |= set(re.findall(r"--[a-z][a-z-]*", shown)) - {"--help"}
    assert options == set(re.findall(r"--[a-z][a-z-]*", page))


@pytest.mark.parametrize(
    "record",
    [
        Status,
        Rendering,
        Waiting,
        RendererNow,
        Numbers,
        PastVideo,
        Failure,
        Row,
        Listed,
        Moved,
        Verdict,
    ],
    ids=lambda r: r.__name__,
)
def test_every_field_of_the_json_is_documented(record: type) -> None:
    """By its name, on the page of commands."""
    page = (DOCS / "commands.md").read_text()
    prefix = "rendering." if record is Rendering else ""
    names = [f"`{prefix}{field.name}`" for field in dataclasses.fields(record)]
    assert [] == [name for name in names if name not in page]


def test_every_ignored_name_is_documented() -> None:
    """On the page of prompt files."""
    words = (DOCS / "prompt-files.md").read_text().split()
    globs = {glob for tool in ignored.TOOLS for glob in tool.ignored}
    assert [] == sorted(glob for glob in globs if not any(fnmatch(glob, word) for word in words))


def test_every_row_of_the_table_of_names_is_documented() -> None:
    """On the page of sync tools, with the tool."""
    page = (DOCS / "sync.md").read_text()
    assert [] == [t.name for t in ignored.TOOLS if f"| {t.name} |" not in page]
    assert [] == [g for t in ignored.TOOLS for g in t.ignored if f"`{g}`" not in page]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24", 24),
        ("[mp4, gif]", ["mp4", "gif"]),
        ("'a # b'", "a # b"),
        ("blurry # low", "blurry # low"),
        ("a\n---\nb: 1", "a\n---\nb: 1"),
        ("1\nprompt: 2", "1\nprompt: 2"),
        ("Close-up: a ball", "Close-up: a ball"),
    ],
)
def test_a_setting_of_submit_is_one_value(text: str, expected: object) -> None:
    """YAML's types are used, and no part of a text is lost."""
    assert expected == submit.value(text)


def test_a_setting_that_is_no_utf8_is_refused(site: Site) -> None:
    """With the exit code for wrong usage, and no traceback."""
    done = site.command("submit", "a ball", "--set", os.fsdecode(b"model=caf\xe9"))
    assert (2, True) == (done.returncode, "not UTF-8" in done.stderr)
    assert "Traceback" not in done.stderr


def test_json_shows_nothing_raw_that_acts_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Control characters are escaped; it is still the same JSON on one line."""
    value = {"prompt": "大鸟\u202e\u2028\x1b[2J\udce9\U000e0041", "n": 1}
    output.print_json(value)
    printed = capsys.readouterr().out
    assert value == json.loads(printed)
    assert printed.removesuffix("\n").isprintable()
    assert "大鸟" in printed
