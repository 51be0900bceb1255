"""The commands as people type them: their output, their exit codes, and what they cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REELDROP, Daemon, Site, await_that, make_site
from reeldrop import config, strict_yaml


def reeldrop(*arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without a --config."""
    return subprocess.run(
        [*REELDROP, *arguments], capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["status"], ["history"], ["submit", "a horse"]], ids=" ".join
)
def test_commands_that_do_not_render_do_not_import_torch(arguments: list[str], site: Site) -> None:
    """Nor diffusers, nor transformers: they answer at once."""
    probe = (
        "import sys; from reeldrop import cli\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print({'torch', 'diffusers', 'transformers'} & sys.modules.keys())"
    )
    environment = {**os.environ, config.ENVIRONMENT: str(site.folder / "config.yaml")}
    ended = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False
    )
    assert ("set()", "") == (ended.stdout.splitlines()[-1], ended.stderr)


def test_init_writes_a_config_that_loads(tmp_path: Path) -> None:
    """Every setting is there with a comment, and the folders are made."""
    ended = reeldrop("init", str(tmp_path / "new"))
    written = tmp_path / "new/config.yaml"
    loaded = config.load(written)
    assert (0, "ms-1.7b") == (ended.returncode, loaded.selected_model(cuda=True))
    assert [True] * 3 == [f.is_dir() for f in (loaded.inbox, loaded.results, loaded.spool)]
    assert str(written) in ended.stdout
    lines = written.read_text().splitlines()
    assert len([line for line in lines if line.strip().startswith("#")]) > 10


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A config.yaml that is there stays as it is."""
    (tmp_path / "config.yaml").write_text("mine: true\n")
    ended = reeldrop("init", str(tmp_path))
    assert (2, "mine: true\n") == (ended.returncode, (tmp_path / "config.yaml").read_text())
    assert "is there already" in ended.stderr


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("setle_seconds: 1\n", ["'setle_seconds'", "did you mean 'settle_seconds'"]),
        ("max_attempts: many\n", ["'max_attempts'", "integer", "'many'"]),
        ("max_attempts: 0\n", ["'max_attempts'", "greater than or equal to 1"]),
        ("inbox: results/inbox\n", ["inbox", "must not be inside results"]),
        ("model: tinny\n", ["'model' is there twice", "line 5"]),
        ("x: ]", ["not YAML"]),
    ],
)
def test_a_mistake_in_the_config_is_named(extra: str, words: list[str], site: Site) -> None:
    """Exit code 78; the message has the file, the line, the key and what would be right."""
    path = site.folder / "config.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, extra]))
    ended = site.command("status")
    line = len(lines) + 1
    assert (78, "") == (ended.returncode, ended.stdout)
    assert [] == [word for word in [f"{path}, line {line}", *words] if word not in ended.stderr]


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Without a config.yaml, the message says how to come by one."""
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
        ["retry"],
        ["retry", "a.txt", "--all"],
        ["history", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str], site: Site) -> None:
    """And with a word on what is wrong, and nothing in the inbox."""
    ended = site.command(*arguments)
    assert (2, "") == (ended.returncode, ended.stdout)
    assert "rror" in ended.stderr
    assert [] == list(site.inbox.iterdir())


def test_check_says_that_all_is_well(site: Site) -> None:
    """One row for each thing that the daemon needs."""
    ended = site.command("check", "--json")
    rows = {row["what"]: row for row in json.loads(ended.stdout)}
    expected = ["config", "inbox", "results", "failed", "spool", "spool and inbox"]
    assert [*expected, "device", "model"] == list(rows)
    assert (0, {True}) == (ended.returncode, {row["ok"] for row in rows.values()})
    assert "tiny: TextToVideoSDPipeline, float32" in rows["model"]["detail"]
    assert [] == [p for p in site.folder.rglob("*") if "check" in p.name]


def test_check_names_what_is_wrong(site: Site) -> None:
    """A missing inbox is not made: a share is probably not mounted. Exit code 78."""
    path = site.folder / "config.yaml"
    path.write_text(path.read_text().replace("path: ", "path: /nowhere"))
    site.inbox.rmdir()
    ended = site.command("check")
    bad = [line for line in ended.stdout.splitlines() if "NO" in line]
    assert (78, 3) == (ended.returncode, len(bad))
    assert (str(site.inbox) in bad[0], "/nowhere" in bad[2]) == (True, True)
    assert not site.inbox.exists()


def test_a_daemon_without_its_inbox_does_not_start(site: Site) -> None:
    """Exit code 75, for it may be mounted later, and its name, before anything is loaded."""
    site.inbox.rmdir()
    ended = site.command("run")
    assert (75, True) == (ended.returncode, str(site.inbox) in ended.stderr)


@pytest.mark.parametrize("arguments", [("submit", "a horse"), ("retry", "--all")])
def test_commands_do_not_make_an_inbox(arguments: tuple[str, ...], site: Site) -> None:
    """What they put there would be hidden as soon as the share is mounted. Exit code 75."""
    site.failed.mkdir(parents=True)
    (site.failed / "a.txt").write_text("a horse\n")
    (site.failed / "a.txt.error.txt").write_text("What is wrong: nothing\n")
    site.inbox.rmdir()
    ended = site.command(*arguments)
    assert (75, True) == (ended.returncode, "is the share mounted?" in ended.stderr)
    assert (False, True) == (site.inbox.exists(), (site.failed / "a.txt").exists())


def test_cancel_does_all_or_nothing(site: Site) -> None:
    """One wrong name among several cancels none; a name that is there twice counts once."""
    site.drop("a.txt", "a horse\n")
    site.drop("b.txt", "a cow\n")
    wrong = site.command("cancel", "a.txt", "nope", "b.txt")
    assert (2, 2) == (wrong.returncode, len(list(site.inbox.iterdir())))
    right = site.command("cancel", "a.txt", "a.txt", "b.txt")
    assert (0, 2) == (right.returncode, len(right.stdout.splitlines()))
    assert "reeldrop retry a.txt" in (site.failed / "a.txt.error.txt").read_text()


def test_what_is_cancelled_while_no_daemon_runs_is_not_begun_again(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """It was begun and put down; the next start sets it aside without a step of it."""
    site.drop("slow.yaml", "prompt: slow\nnum_inference_steps: 1000\n")
    started = daemon()
    started.wait_for("job_started")
    assert 0 == started.stop()
    cancelled = site.command("cancel", "slow.yaml")
    assert "slow.yaml: is cancelled at the next start\n" == cancelled.stdout
    events = [json.loads(line) for line in site.drain().stdout.splitlines()]
    ended = {event["event"]: event for event in events}
    assert ("job_failed" in ended, 0) == (True, ended["job_ended"]["attempts"])


def test_what_is_cancelled_after_its_first_video_keeps_that(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """`_failed/` has only what was not rendered, so that a retry doubles nothing."""
    site.drop("two.yaml", "prompts: [quick, {prompt: slow, num_inference_steps: 1000}]\n")
    started = daemon()
    started.wait_for("video_published")
    assert 0 == started.stop()
    site.command("cancel", "two.yaml")
    assert 1 == site.drain().returncode
    left = (site.failed / "two.yaml").read_text()
    assert ["prompt: slow"] == [line for line in left.splitlines() if line.startswith("prompt")]
    assert (site.results / "two/two.yaml").exists()


def test_submit_writes_a_prompt_file(site: Site) -> None:
    """With the settings of --set, under a name of its own, and it says where the video will be."""
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
    """What waits is shown, and that nobody works on it."""
    site.drop("a/horse.txt", "a horse\n")
    now = json.loads(site.command("status", "--json").stdout)
    assert ("not running", None, 1) == (now["state"], now["rendering"], now["waiting_count"])
    expected = [{"prompt_file": "a/horse.txt", "reason": "the daemon is not running"}]
    assert expected == now["waiting"]
    shown = site.command("status").stdout
    assert [] == [word for word in ("not running", "a/horse.txt") if word not in shown]


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
    """Those in folders, too; and it says so when there is none."""
    for name in ("a.txt", "b/c.txt"):
        site.drop(name, "a horse\n")
    site.command("cancel", "a.txt", "b/c.txt")
    moved = json.loads(site.command("retry", "--all", "--json").stdout)
    assert {"a.txt", "b/c.txt"} == set(moved)
    assert [True, True] == [(site.inbox / name).exists() for name in moved]
    assert "nothing to retry" in site.command("retry", "--all").stdout


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
    """A site on which a daemon works."""
    site = make_site(tmp_path_factory.mktemp("live") / "site", tiny_pipeline)
    daemon = Daemon(site)
    daemon.wait_for("ready")
    yield site
    assert 0 == daemon.stop()


def status(site: Site) -> dict[str, Any]:
    """Return what `reeldrop status` says."""
    found: dict[str, Any] = json.loads(site.command("status", "--json").stdout)
    return found


def test_submit_waits_for_the_video(live: Site) -> None:
    """Without a terminal there is no bar, only where the video will be, and then where it is."""
    ended = live.command("submit", "a horse", "--wait")
    video = live.results / "a_horse/a_horse.mp4"
    assert (0, "") == (ended.returncode, ended.stderr)
    assert [str(live.inbox / "a_horse.yaml"), f"will be {video}", str(video)] == (
        ended.stdout.splitlines()
    )
    assert video.exists()


def test_submit_says_why_there_is_no_video(live: Site) -> None:
    """Exit code 1, and the text of the error file."""
    ended = live.command("submit", "a cow", "--set", "num_frams=3", "--wait", "--json")
    answer = json.loads(ended.stdout)
    assert (1, []) == (ended.returncode, answer["videos"])
    assert "did you mean 'num_frames'" in answer["error"]


def test_history_lists_the_videos(live: Site) -> None:
    """Newest first, with what made them; as a table, paths are whole."""
    for name in ("an ox", "a bee"):
        live.command("submit", name, "--wait", "--set", "seed=5")
    videos = json.loads(live.command("history", "--json").stdout)
    assert ["a bee", "an ox"] == [video["prompt"] for video in videos[:2]]
    assert (5, "tiny", "a_bee.yaml") == tuple(
        videos[0][key] for key in ("seed", "model", "prompt_file")
    )
    assert 1 == len(json.loads(live.command("history", "--json", "--limit", "1").stdout))
    assert videos[0]["file"] == str(live.results / "a_bee/a_bee.mp4")
    assert "a_bee.mp4" in live.command("history").stdout


def test_status_and_cancel_of_what_is_rendered(live: Site) -> None:
    """Status names the step and what waits; what is cancelled goes to `_failed/` but its videos."""
    prompts = [
        "{prompt: short, num_inference_steps: 1}",
        "{prompt: long, num_inference_steps: 1000}",
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
    assert ("stopped.yaml", "long", 2, 3, 1000) == tuple(
        now["rendering"][key] for key in ("prompt_file", "prompt", "number", "count", "steps")
    )
    assert "after.txt" == now["waiting"][0]["prompt_file"]
    shown = live.command("status").stdout
    assert [] == [w for w in ("stopped.yaml 2/3: long", "/1000", "after.txt") if w not in shown]
    assert 0 == live.command("cancel", "stopped.yaml").returncode
    await_that(lambda: (live.results / "after/after.txt").exists(), "the next job")
    left = strict_yaml.load_all((live.failed / "stopped.yaml").read_text())
    assert ["long", "never"] == [strict_yaml.plain(document)["prompt"] for document in left]
    assert "cancelled" in (live.failed / "stopped.yaml.error.txt").read_text()
    videos = {path.name for path in (live.results / "stopped").glob("*.mp4")}
    assert ({"short.mp4"}, True) == (videos, (live.results / "stopped/stopped.yaml").exists())


def test_texts_of_strangers_are_not_markup(site: Site) -> None:
    """What looks like Rich's markup in a prompt or a file name is shown as it is."""
    folder = site.results / "[red]"
    folder.mkdir(parents=True)
    (folder / "a.mp4").touch()
    rendered = "{prompt_file: a.txt, job: j, seconds: 1.0, finished: now}"
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
