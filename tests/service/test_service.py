"""The daemon, end to end: a real process, real prompt files, real videos, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest
from harness.fakes import FAULTY_WORD, save_tiny_pipeline
from harness.processes import await_that
from harness.site import Daemon, Hold, Site, make_site
from harness.videos import decoded
from PIL import Image
from reeldrop.base import strict_yaml
from reeldrop.base.names import portable

EXAMPLES = Path(__file__).parents[2] / "examples"
ORIGINAL = [
    "Spiderman_is_surfing",
    "An_astronaut_riding_a_horse",
    "Darth_vader_surfing_in_waves",
    "Big_bird_rises_with_the_same_wind_in_one_day",
    "Two_orioles_singing_green_willows",
    "I_want_to_cross_the_Yellow_River_which_is_blocked_by_ice",
]
POEMS = ["大鹏一日同风起", "两只黄鹂鸣翠柳", "欲渡黄河冰塞川"]


def sidecar(video: Path) -> dict[str, Any]:
    """Return the settings beside a video."""
    return settings(video.with_suffix(".yaml").read_text())


def settings(text: str) -> dict[str, Any]:
    """Return the first document of a YAML text."""
    found: dict[str, Any] = strict_yaml.plain(strict_yaml.load_all(text)[0])
    return found


def names(folder: Path) -> set[str]:
    """Return the names in a folder."""
    return {path.name for path in folder.iterdir()}


@dataclass
class Pipe:
    """A named pipe whose writer waits for a reader."""

    path: Path
    opened: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        os.close(os.open(self.path, os.O_WRONLY))
        self.opened.set()


# What is wrong with a file, and what its author has to be told.
BAD_TEXTS: dict[str, tuple[str | bytes, list[str]]] = {
    "broken.yaml": ("prompt: 'no end\nseed: 1\n", ["not YAML", "line "]),
    "colon.yaml": ("prompt: a: b\n", ["not YAML", "line 1", "between quotes"]),
    "unknown.yaml": (
        "prompt: a\nnum_frams: 3\n",
        ["unknown key 'num_frams'", "line 2, column 1", "did you mean 'num_frames'"],
    ),
    "type.yaml": (
        "prompt: a\nnum_frames: ten\n",
        ["num_frames must be a whole number, not the text 'ten'", "line 2"],
    ),
    "limit.yaml": ("prompt: a\n\nnum_frames: 33\n", ["num_frames is 33", "line 3", "use 32"]),
    "size.yaml": (
        "prompt: a\nheight: 36\n",
        ["only multiples of 8", "key 'height'", "use 32 or 40"],
    ),
    "model.yaml": ("prompt: a\nmodel: tinny\n", ["no model 'tinny'", "did you mean 'tiny'"]),
    "comments.txt": ("# nothing\n\n  # at all\n", ["there is no prompt", "on a line of its own"]),
    "empty.txt": ("", ["there is no prompt"]),
    "blank.yaml": ("prompt: ' '\n", ["the prompt is empty", "line 1", "write what to film"]),
    "undecodable.txt": (b"good line\nbad \xff line\n", ["not UTF-8", "line 2, column 5"]),
    "nul.txt": (b"a horse\0\n", ["NUL byte", "line 1, column 8"]),
    "huge.txt": ("x" * (1 << 20) + "y", ["1,048,577 bytes", "1,048,576", "split it"]),
    "many.txt": ("a horse\n" * 1001, ["1,001 videos", "1,000", "split it"]),
    "bomb.yaml": (
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh"))  # noqa: B905
        + "prompt: *h\n",
        ["unfolds to more than", "line "],
    ),
    "twice.yaml": (
        "prompt: a\nseed: 1\nseed: 2\n",
        ["the key 'seed' is there twice", "line 3", "line 2"],
    ),
    "no_video.mp4": (b"\0\0\0\x18ftypisom no video", ["mp4", "only an mp4 that reeldrop made"]),
    "hostile.mp4": (
        b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1free" + b"\x7f" + b"\xff" * 7,
        ["no readable mp4", "only an mp4 that reeldrop made"],
    ),
    "_ours.txt": ("a horse\n", ["begins with an underscore", "'_ours.txt'", "another name"]),
    "below/_ours/a.txt": ("a horse\n", ["begins with an underscore", "'_ours'"]),
    "below/bad.yaml": ("prompt: a\nwidth: x\n", ["width must be a whole number", "line 2"]),
}
BAD_KINDS = {
    "link.txt": "this is a link",
    "pipe.txt": "this is a pipe",
    "socket.txt": "this is a socket",
    "folder.txt": "this is a directory",
}


@dataclass
class Drained:
    """A site whose full inbox has been rendered in one run."""

    site: Site
    exit_code: int
    events: list[dict[str, Any]]
    stderr: str
    pipes: list[Pipe]

    def video(self, name: str) -> Path:
        return self.site.results / name


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Drained:
    """Valid prompt files of every kind, and every kind of bad ones, drained together."""
    site = make_site(tmp_path_factory.mktemp("drained") / "site", tiny_pipeline)
    site.drop("surfing.txt", "Spiderman is surfing")
    site.drop("deep/er/down.txt", "# a comment\n\n  a mole  \r\n")
    site.drop("formats.yaml", FORMATS)
    site.drop("seeds.yaml", "prompt: twins\nseed: [11, 12, 11]\n")
    site.drop("with/_defaults.yaml", "num_frames: 6\nfps: 5\nseed: 9\n")
    site.drop("with/near/_defaults.yaml", "fps: 10\n")
    site.drop("with/near/defaults.yaml", "prompt: defaults\nseed: 1\n")
    site.drop("a_late.yaml", "prompt: late\npriority: -10\nnum_frames: 7\n")
    site.drop("z_soon.yaml", "prompt: soon\npriority: 10\n")
    site.drop("notepad.txt", "a horse\r\nein Pferd für dich\r\n".encode("utf-16"))
    site.drop("诗/李白.txt", "大鹏一日同风起\n")
    shutil.copytree(EXAMPLES, site.inbox / "examples", ignore=shutil.ignore_patterns("gpu"))
    for name, (content, _) in BAD_TEXTS.items():
        site.drop(f"bad/{name}", content)
    bad = site.inbox / "bad"
    pipes = [Pipe(bad / "pipe.txt"), Pipe(site.folder / "outside")]
    (bad / "link.txt").symlink_to(site.folder / "outside")
    (bad / "folder.txt").mkdir()
    with contextlib.chdir(bad), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.txt")
        run = site.drain()
    events = [json.loads(line) for line in run.stdout.splitlines()]
    return Drained(site, run.returncode, events, run.stderr, pipes)


FORMATS = """\
prompt: formats
seed: 5
num_frames: 5
height: 48
width: 32
fps: 12
format: [mp4, gif, webm]
"""


def test_a_dropped_prompt_file_becomes_a_published_video(drained: Drained) -> None:
    """Video, poster, sidecar, log and prompt file are in one folder."""
    expected = {f"Spiderman_is_surfing.{suffix}" for suffix in ("mp4", "jpg", "yaml")}
    assert {*expected, "job.log", "surfing.txt"} == names(drained.video("surfing"))
    assert "Spiderman is surfing" == (drained.video("surfing") / "surfing.txt").read_text()


def test_nothing_is_left_but_the_defaults(drained: Drained) -> None:
    """All prompt files have moved; `_defaults.yaml` files stay."""
    left = {str(p.relative_to(drained.site.inbox)) for p in drained.site.inbox.rglob("*.*")}
    assert {"with/_defaults.yaml", "with/near/_defaults.yaml"} == left
    assert [] == list((drained.site.spool / "active").iterdir())


def test_a_drain_with_a_failed_job_ends_with_1(drained: Drained) -> None:
    """Exit code 1, and the last log line has the counts."""
    last = drained.events[-1]
    failures = len(BAD_TEXTS) + len(BAD_KINDS)
    assert (1, "stopped", failures) == (drained.exit_code, last["event"], last["failed_jobs"])


def test_only_json_lines_are_logged(drained: Drained) -> None:
    """Each line has an event and a time; stderr is empty (checked in the fixture)."""
    assert "" == drained.stderr
    assert all({"event", "level", "timestamp"} <= set(event) for event in drained.events)


def test_nothing_is_logged_as_an_error_but_failed_jobs(drained: Drained) -> None:
    """All other events are below the level of errors."""
    errors = {event["event"] for event in drained.events if event["level"] == "error"}
    assert {"job_failed"} == errors


def test_the_videos_are_what_was_asked_for(drained: Drained) -> None:
    """Number, size and rate of frames; H.264 that every browser plays, ready to stream."""
    video = drained.video("formats/formats.mp4")
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        found = (stream.codec.name, stream.pix_fmt, stream.width, stream.height)
        assert ("h264", "yuv420p", 32, 48, 12.0) == (*found, float(stream.average_rate))
    assert (5, 48, 32, 3) == decoded(video).shape
    data = video.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", ["gif", "webm"])
def test_other_formats_show_the_same_video(suffix: str, drained: Drained) -> None:
    """Each requested format is beside the mp4."""
    assert (5, 48, 32, 3) == decoded(drained.video(f"formats/formats.{suffix}")).shape


def test_the_poster_is_a_frame_of_the_video(drained: Drained) -> None:
    """A JPEG of the video's size."""
    with Image.open(drained.video("formats/formats.jpg")) as poster:
        assert ("JPEG", (32, 48)) == (poster.format, poster.size)


def test_the_sidecar_holds_all_settings(drained: Drained) -> None:
    """Given and default settings, and how the video was rendered."""
    found = sidecar(drained.video("formats/formats.mp4"))
    expected = {**settings(FORMATS), "num_inference_steps": 3, "guidance_scale": 9.0}
    expected |= {"model": "tiny", "eta": 0.0}
    rendered = found.pop("rendered")
    assert expected == found
    assert ("TextToVideoSDPipeline", "DPMSolverMultistepScheduler", "formats.yaml", 1) == (
        rendered["pipeline"],
        rendered["scheduler"],
        rendered["prompt_file"],
        rendered["number"],
    )


def test_the_mp4_carries_its_sidecar(drained: Drained) -> None:
    """The mp4 has the text of the sidecar."""
    video = drained.video("formats/formats.mp4")
    with av.open(str(video)) as container:
        assert video.with_suffix(".yaml").read_text() == container.metadata["comment"]


def test_folders_are_mirrored(drained: Drained) -> None:
    """A prompt file in a folder has its videos at the same place in the results."""
    assert {"a_mole.mp4", "down.txt"} <= names(drained.video("deep/er/down"))


def test_each_seed_gives_a_video(drained: Drained) -> None:
    """Equal names get numbers; equal seeds give equal frames, others do not."""
    first, second, third = (
        decoded(drained.video(f"seeds/{name}.mp4")) for name in ("twins", "twins-2", "twins-3")
    )
    seeds = [sidecar(drained.video(f"seeds/twins{n}.mp4"))["seed"] for n in ("", "-2", "-3")]
    assert [11, 12, 11] == seeds
    assert abs(first.astype(int) - third).mean() < 2 < abs(first.astype(int) - second).mean()


def test_a_drawn_seed_is_recorded(drained: Drained) -> None:
    """A prompt without a seed gets its own, and the sidecar has it."""
    videos = [drained.video(f"examples/original/{name}.mp4") for name in ORIGINAL]
    seeds = {sidecar(video)["seed"] for video in videos}
    assert (len(videos), True) == (len(seeds), all(0 <= seed < 2**32 for seed in seeds))


def test_defaults_apply_the_nearest_first(drained: Drained) -> None:
    """The prompt file, then the nearest folder, then farther ones, key by key."""
    found = sidecar(drained.video("with/near/defaults/defaults.mp4"))
    assert (1, 10, 6) == (found["seed"], found["fps"], found["num_frames"])


def test_the_queue_is_in_order_of_priority(drained: Drained) -> None:
    """Higher priorities begin sooner, lower ones last.

    The batch of the first may take along another file before the second.
    """
    order = [e["prompt_file"] for e in drained.events if e["event"] == "job_started"]
    assert "z_soon.yaml" == order[0]
    assert "examples/poems_settings.yaml" in order[1:3]
    assert "a_late.yaml" == order[-1]


@pytest.mark.parametrize(
    ("folder", "videos"),
    [
        ("notepad", ["a_horse", "ein_Pferd_für_dich"]),
        ("诗/李白", ["大鹏一日同风起"]),
        ("examples/original", ORIGINAL),
        ("examples/original_settings", ORIGINAL),
        ("examples/poems", POEMS),
        ("examples/poems_settings", POEMS),
    ],
)
def test_every_line_has_its_video(folder: str, videos: list[str], drained: Drained) -> None:
    """UTF-16, Chinese names and the examples give videos named after their prompts."""
    found = {path.stem for path in drained.video(folder).glob("*.mp4")}
    assert set(videos) == found


def test_a_job_has_its_own_log(drained: Drained) -> None:
    """`job.log` has the events of its job only, from start to summary."""
    lines = (drained.video("seeds") / "job.log").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    expected = ["job_started", *["video_published"] * 3, "job_ended"]
    assert expected == [event["event"] for event in events]
    assert 1 == len({event["job_id"] for event in events})
    summary = {key: events[-1][key] for key in ("videos", "failed", "attempts")}
    assert {"videos": 3, "failed": 0, "attempts": 1} == summary


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_bad_file_is_set_aside_with_the_reason(name: str, drained: Drained) -> None:
    """It is unchanged in `_failed/`, with a report of problem, place and remedy.

    Its name there is portable: `nul.txt` is not.
    """
    content, words = BAD_TEXTS[name]
    at = drained.site.failed / "bad" / portable(PurePosixPath(name))
    report = at.with_name(at.name + ".error.txt").read_text()
    assert (content if isinstance(content, bytes) else content.encode()) == at.read_bytes()
    assert [] == [word for word in words if word not in report]


def kept(site: Site, name: str) -> Path:
    """Return the place in the spool of a file that can't be moved into `_failed/`."""
    (found,) = site.spool.glob(f"refused/*/{name}")
    return found


@pytest.mark.parametrize("name", BAD_KINDS)
def test_what_is_no_file_is_refused_unopened(name: str, drained: Drained) -> None:
    """Links are moved; pipes, sockets and directories are kept where only the daemon has access."""
    at = drained.site.failed / "bad" / name
    report = at.with_name(at.name + ".error.txt").read_text()
    assert f"{BAD_KINDS[name]}, not a file; it has not been opened" in report
    assert (name == "link.txt") is os.path.lexists(at)
    if name != "link.txt":
        assert f"It is in {kept(drained.site, name).parent}." in report
    assert f"\nWhen a file bad/{name} is rendered, this report goes.\n" in report
    assert "retry" not in report
    assert "from here" not in report


@pytest.mark.parametrize("name", ["_ours.txt", "below/_ours/a.txt"])
def test_a_reserved_name_is_not_to_be_put_back(name: str, drained: Drained) -> None:
    """It would be refused again at its place, and the report on it would never go by itself."""
    report = (drained.site.failed / f"bad/{name}.error.txt").read_text()
    assert "\nMove it to a place in the inbox where no name begins with an underscore" in report
    assert "retry" not in report


def test_nobody_has_opened_the_pipes(drained: Drained) -> None:
    """A reader of a pipe, also through a link, would have unblocked its writer."""
    assert [False, False] == [pipe.opened.is_set() for pipe in drained.pipes]
    assert (drained.site.failed / "bad/link.txt").is_symlink()
    for at in (kept(drained.site, "pipe.txt"), drained.site.folder / "outside"):
        os.close(os.open(at, os.O_RDONLY | os.O_NONBLOCK))
    await_that(lambda: all(p.opened.is_set() for p in drained.pipes), "the proof of the proof")


class SystemdSocket:
    """A socket like systemd's, for messages of a service."""

    def __init__(self, path: Path) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self.messages.append(message.decode())

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()


@dataclass
class Live:
    """A running daemon, while the tests drop files."""

    site: Site
    daemon: Daemon
    systemd: SystemdSocket

    def ended(self, prompt_file: str) -> dict[str, Any]:
        """Wait for the end of a job, and return its summary."""

        def summaries() -> list[dict[str, Any]]:
            ended = self.daemon.events("job_ended")
            return [event for event in ended if event["prompt_file"] == prompt_file]

        await_that(lambda: summaries() or self.daemon.process.poll(), f"the end of {prompt_file}")
        return summaries()[0]


@pytest.fixture(scope="module")
def live(drained: Drained) -> Iterator[Live]:
    """A daemon, started as by systemd, on the results of the drained site."""
    site = drained.site
    config = site.folder / "config.yaml"
    config.write_text(config.read_text().replace("settle_seconds: 0.1", "settle_seconds: 1"))
    systemd = SystemdSocket(site.folder / "notify")
    daemon = Daemon(site, NOTIFY_SOCKET=str(site.folder / "notify"))
    yield Live(site, daemon, systemd)
    daemon.process.kill()
    daemon.process.wait()
    systemd.close()


def test_ready_is_said_when_the_model_is_loaded(live: Live) -> None:
    """READY=1 is sent after the model is loaded."""
    await_that(lambda: "READY=1" in live.systemd.messages, "READY=1")
    assert 1 == len(live.daemon.events("model_loaded"))
    first = live.systemd.messages[: live.systemd.messages.index("READY=1")]
    assert "STATUS=loading tiny" in first


def test_a_second_daemon_on_the_spool_is_refused(live: Live) -> None:
    """The message names the first process, which continues."""
    live.daemon.wait_for("ready")
    second = live.site.command("run")
    expected = f"process {live.daemon.process.pid} works on {live.site.spool} already"
    assert (75, True) == (second.returncode, expected in second.stderr)
    assert live.daemon.process.poll() is None


@pytest.mark.parametrize("kind", ["yaml", "mp4"])
def test_a_dropped_sidecar_or_mp4_renders_the_video_again(
    kind: str, live: Live, drained: Drained
) -> None:
    """With all settings: the frames are equal bit for bit."""
    original = drained.video("formats/formats.mp4")
    shutil.copy(original.with_suffix(f".{kind}"), live.site.inbox / f"again_{kind}.{kind}")
    assert (1, 0) == tuple(live.ended(f"again_{kind}.{kind}")[key] for key in ("videos", "failed"))
    again = live.site.results / f"again_{kind}/formats.mp4"
    assert np.array_equal(decoded(original), decoded(again))


def test_a_file_of_the_same_name_overwrites_nothing(live: Live) -> None:
    """The second surfing.txt and its videos get numbers."""
    folder = live.site.results / "surfing"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    live.site.drop("surfing.txt", "Spiderman is surfing")
    live.ended("surfing.txt")
    await_that((folder / "surfing-2.txt").exists, "the prompt file")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {"Spiderman_is_surfing-2.mp4", "job-2.log"} <= names(folder)


def test_a_file_is_not_taken_while_it_is_written(live: Live) -> None:
    """Another file is rendered meanwhile; then this one is claimed, complete."""
    growing = live.site.drop("growing.txt", "line 0\n")
    live.site.drop("steady.txt", "steady\n")
    written = ["line 0"]

    def write_until_the_other_is_rendered() -> bool:
        written.append(f"line {len(written) % 5}")
        with growing.open("a") as file:
            file.write(f"{written[-1]}\n")
        return (live.site.results / "steady/steady.txt").exists() or len(written) == 900

    await_that(write_until_the_other_is_rendered, "steady.txt")
    assert growing.exists()
    growing.write_text("the end\n")
    assert (1, 0) == tuple(live.ended("growing.txt")[key] for key in ("videos", "failed"))


def test_a_file_with_an_old_date_is_taken(live: Live) -> None:
    """Its mtime, as kept by `mv` or `cp -p`, does not matter."""
    outside = live.site.folder / "old.txt"
    outside.write_text("an old horse\n")
    os.utime(outside, (1, 1))
    outside.rename(live.site.inbox / "old.txt")
    assert 1 == live.ended("old.txt")["videos"]


def test_unfinished_uploads_are_left_alone(live: Live) -> None:
    """Names of unfinished files are ignored."""
    for name in (".syncthing.a.txt.tmp", "b.txt.part", ".hidden.txt", "~c.txt"):
        live.site.drop(f"uploads/{name}", "not yet\n")
    live.site.drop("uploads/whole.txt", "a whole upload\n")
    live.ended("uploads/whole.txt")
    assert 4 == len(names(live.site.inbox / "uploads"))


def test_the_inbox_may_go_and_come_back(live: Live) -> None:
    """An unmounted share does not end the daemon."""
    live.daemon.wait_for("ready")
    away = live.site.inbox.with_name("away")
    live.site.inbox.rename(away)
    live.daemon.wait_for("inbox_gone")
    (away / "back.txt").write_text("back again\n")
    away.rename(live.site.inbox)
    assert 1 == live.ended("back.txt")["videos"]
    assert 1 == len(live.daemon.events("inbox_back"))


def test_systemd_hears_of_progress_and_of_the_end(live: Live) -> None:
    """The status line shows the render, steps feed the watchdog, STOPPING=1 is sent."""
    live.site.drop("told.yaml", "prompt: told\nnum_inference_steps: 40\n")
    live.ended("told.yaml")
    assert 0 == live.daemon.stop()
    messages = live.systemd.messages
    await_that(lambda: messages[-1].startswith("STATUS=stopped"), "the last message")
    assert messages.index("READY=1") < messages.index("STOPPING=1")
    assert messages.count("WATCHDOG=1") >= 40


LONG = """\
priority: 5
prompts:
  - {prompt: first, seed: 1, num_inference_steps: 2}
  - {prompt: second, seed: 2, num_inference_steps: 4}
"""


@dataclass
class Run:
    """The events of one of several daemons in sequence, and the spool after it."""

    exit_code: int
    events: list[dict[str, Any]]
    messages: list[str]
    in_spool: list[str]
    attempts: int
    first: tuple[int, int] | None

    def __init__(self, site: Site, exit_code: int, events: list[dict[str, Any]]) -> None:
        self.exit_code, self.events = exit_code, events
        jobs = sorted((site.spool / "active").iterdir())
        self.in_spool = [json.loads((job / "job.json").read_text())["source"] for job in jobs]
        found = [(job / "attempts.json") for job in jobs]
        self.attempts = sum(len(json.loads(path.read_text())) for path in found if path.exists())
        status = (site.results / "long/first.mp4").stat()
        self.first = (status.st_ino, status.st_mtime_ns)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> dict[str, Run]:
    """Five daemons in sequence; four of them are ended during a render."""
    site = make_site(tmp_path_factory.mktemp("runs") / "site", tiny_pipeline)
    site.drop("long.yaml", LONG)
    site.drop("poison.yaml", "prompt: poison\nnum_inference_steps: 5\n")
    site.drop("z.txt", "harmless\n")
    found, hold = {}, Hold(site.folder / "hold")
    hold.hold("second")
    for name in ("SIGTERM", "SIGINT", "SIGKILL"):
        daemon = Daemon(site, hold.program)
        _await_step(site, daemon, "long.yaml", 2)
        exit_code = daemon.stop(signal.Signals[name])
        found[name] = Run(site, exit_code, daemon.events())
    hold.hold("poison")
    daemon = Daemon(site, hold.program)
    _await_step(site, daemon, "poison.yaml", 1)
    exit_code = daemon.stop(signal.SIGSEGV)
    found["resumed"] = Run(site, exit_code, daemon.events())
    config = site.folder / "config.yaml"
    config.write_text(f"max_attempts: 1\n{config.read_text()}")
    last = site.drain()
    events = [json.loads(line) for line in last.stdout.splitlines()]
    found["last"] = Run(site, last.returncode, events)
    found["last"].messages = sorted(
        str(path.relative_to(site.results))
        for path in site.results.rglob("*")
        if path.suffix in (".mp4", ".yaml", ".txt")
    )
    return found


def _await_step(site: Site, daemon: Daemon, prompt_file: str, number: int) -> None:
    def is_there() -> bool:
        assert daemon.process.poll() is None
        with contextlib.suppress(FileNotFoundError):
            status = json.loads((site.spool / "status.json").read_text())
            now = status["rendering"]
            if status["pid"] == daemon.process.pid and now:
                wanted = (prompt_file, number, True)
                return wanted == (now["prompt_file"], now["number"], now["step"] > 0)
        return False

    await_that(is_there, f"a step of {prompt_file}")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_daemon_within_a_step(name: str, runs: dict[str, Run]) -> None:
    """It exits with 0, its job stays in the spool, and no attempt counts."""
    run = runs[name]
    assert (0, ["long.yaml"], 0) == (run.exit_code, run.in_spool, run.attempts)
    ends = ["stopping", "stopped"]
    assert ends == [event["event"] for event in run.events if not event.get("library")][-2:]
    assert name == run.named("stopping")[0]["signal"]


def test_a_kill_counts_as_an_attempt(runs: dict[str, Run]) -> None:
    """Because the job may be to blame."""
    run = runs["SIGKILL"]
    assert (-9, ["long.yaml"], 1) == (run.exit_code, run.in_spool, run.attempts)
    assert [2] == [e["attempt"] for e in runs["resumed"].named("job_started")][:1]


def test_a_published_video_is_not_rendered_again(runs: dict[str, Run]) -> None:
    """Each start continues with the video that was not finished."""
    published = [[e["number"] for e in run.named("video_published")] for run in runs.values()]
    assert [[1], [], [], [2], [1]] == published
    assert 1 == len({run.first for run in runs.values()})
    resumed = [runs[name].named("job_started")[0] for name in ("SIGINT", "SIGKILL", "resumed")]
    assert [1, 1, 1] == [event["already_published"] for event in resumed]


def test_a_job_that_took_the_process_down_too_often_is_set_aside(runs: dict[str, Run]) -> None:
    """The job after it is rendered, and every video exists once."""
    last = runs["last"]
    expected = [
        "_failed/poison.yaml",
        "_failed/poison.yaml.error.txt",
        "long/first.mp4",
        "long/first.yaml",
        "long/long.yaml",
        "long/second.mp4",
        "long/second.yaml",
        "z/harmless.mp4",
        "z/harmless.yaml",
        "z/z.txt",
    ]
    assert (1, [], expected) == (last.exit_code, last.in_spool, last.messages)
    assert "ended in the middle of it 1 times" in last.named("job_failed")[0]["reason"]


def test_a_signal_while_the_model_is_loading_ends_cleanly(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """No job was begun, so none is left."""
    site.drop("a.txt", "a horse\n")
    started = daemon()
    started.wait_for("starting")
    assert 0 == started.stop()
    assert (["a.txt"], []) == (sorted(names(site.inbox)), started.events("job_started"))
    assert "stopped" == started.events()[-1]["event"]


def test_what_is_rendered_at_a_stop_is_published(site: Site, daemon: Callable[..., Daemon]) -> None:
    """The process ends after all videos of the batch are encoded."""
    config = site.folder / "config.yaml"
    config.write_text(config.read_text().replace("max_batch_size: 2", "max_batch_size: 6"))
    settings = "num_frames: 8\nnum_inference_steps: 1\nformat: [webm, gif, mp4]\n"
    site.drop("a.yaml", f"prompt: a horse\n{settings}seed: [1, 2, 3, 4, 5, 6]\n")
    started = daemon()
    started.wait_for("video_published")
    assert 0 == started.stop()
    assert 6 == len(started.events("video_published"))
    assert 6 == len(list(site.results.rglob("*.mp4")))
    assert (site.results / "a/a.yaml").exists()


MANY = f"""\
model: faulty
prompts:
  - {{prompt: a horse, seed: 1}}
  - {{prompt: a {FAULTY_WORD}, seed: 2, fps: 4}}
  - {{prompt: a cow, seed: 3}}
"""


@dataclass
class Faults:
    """The results of a drain that could not render everything, and of a second one."""

    site: Site
    first: list[dict[str, Any]]
    left: str
    report: str
    retried: str
    exit_codes: tuple[int, int]
    videos: list[str]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Faults:
    """One prompt of three, and one alone, that the pipeline can't render; one without a place."""
    folder = tmp_path_factory.mktemp("faults")
    site = make_site(folder / "site", tiny_pipeline)
    faulty = save_tiny_pipeline(folder / "faulty", faulty=True)
    config = site.folder / "config.yaml"
    text = config.read_text()
    profile = text[text.index("  tiny:") :].replace("  tiny:", "  faulty:")
    config.write_text(text + profile.replace(str(tiny_pipeline), str(faulty)))
    site.drop("many.yaml", MANY)
    site.drop("alone.yaml", f"prompt: one {FAULTY_WORD}\nmodel: faulty\n")
    site.drop("blocked.txt", "no place to go\n")
    site.drop("good.txt", "a good horse\n")
    site.results.mkdir()
    (site.results / "blocked").write_text("somebody's file\n")
    first = site.drain()
    left = (site.failed / "many.yaml").read_text()
    report = (site.failed / "many.yaml.error.txt").read_text()
    config.write_text(text + profile)  # the operator has mended the model
    (site.results / "blocked").unlink()
    retried = site.command("retry", "--all").stdout
    second = site.drain()
    videos = sorted(str(path.relative_to(site.results)) for path in site.results.rglob("*.mp4"))
    events = [json.loads(line) for line in first.stdout.splitlines()]
    codes = (first.returncode, second.returncode)
    return Faults(site, events, left, report, retried, codes, videos)


def test_the_other_prompts_are_rendered(faults: Faults) -> None:
    """After a failed batch, only the bad prompt has no video."""
    published = [Path(e["file"]).stem for e in faults.first if e["event"] == "video_published"]
    assert ["a_cow", "a_good_horse", "a_horse"] == sorted(published)
    assert 1 == faults.exit_codes[0]
    assert (faults.site.results / "many/many.yaml").read_text() == MANY


def test_what_is_left_is_a_prompt_file(faults: Faults) -> None:
    """`_failed/` has only the prompts without a video, with all their settings."""
    left = settings(faults.left)
    assert 1 == len(strict_yaml.load_all(faults.left))
    assert (f"a {FAULTY_WORD}", 2, 4, "faulty") == tuple(
        left[key] for key in ("prompt", "seed", "fps", "model")
    )
    assert "index out of range" in faults.report
    assert "The other videos (2) are in" in faults.report


def test_what_is_left_renders_when_it_is_put_back(faults: Faults) -> None:
    """After a repair of the model, `reeldrop retry` gives the missing videos."""
    expected = [
        f"alone/one_{FAULTY_WORD}.mp4",
        "blocked/no_place_to_go.mp4",
        "good/a_good_horse.mp4",
        "many/a_cow.mp4",
        f"many/a_{FAULTY_WORD}.mp4",
        "many/a_horse.mp4",
    ]
    assert (expected, 0) == (faults.videos, faults.exit_codes[1])


def test_a_job_that_has_no_place_fails_with_that_reason(faults: Faults) -> None:
    """A file is in the place of the job's folder: the report says so, and a retry works."""
    reasons = [e["reason"] for e in faults.first if e.get("prompt_file") == "blocked.txt"
               and e["event"] == "job_failed"]  # fmt: skip
    assert 1 == len(reasons)
    assert "is a file, not a folder" in reasons[0]
    assert "blocked.txt" in names(faults.site.results / "blocked")
