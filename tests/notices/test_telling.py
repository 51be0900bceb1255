"""`reeldrop notify`: real results, a real server, real programs; killed again and again."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.message_receiver import MessageReceiver, receiving
from harness.notices import Place
from harness.processes import await_that, run, start
from harness.zygote import REELDROP
from reeldrop.base.errors import ConfigError, Unavailable
from reeldrop.commands.notify import Teller, pause
from reeldrop.commands.run import run_daemon
from reeldrop.config import config
from reeldrop.notices.deliveries import Delivery
from reeldrop.notices.record import KEPT_SECONDS, Record
from reeldrop.notices.states import States
from reeldrop.store import status

VIDEOS = 32
KILLS = 8


@pytest.fixture
def server() -> Iterator[MessageReceiver]:
    """A server that takes messages."""
    with receiving() as made:
        yield made


class Notifier:
    """The folders of one daemon that does not run, and a process that tells what is there."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.place = Place(folder)
        (folder / "inbox").mkdir()
        self._config = folder / "config.yaml"
        self._config.write_text("\n".join(["notify_seconds: 0.05", *lines, ""]))
        self._log = folder / "notify.log"

    def start(self) -> subprocess.Popen[str]:
        """Start it, and wait until it is ready."""
        before = self.count("ready")
        with self._log.open("a") as log:
            process = start(
                [*REELDROP, "notify", "--config", str(self._config)], stdout=log, stderr=log
            )
        await_that(lambda: self.count("ready") > before, "the start of notify")
        return process

    def count(self, event: str) -> int:
        """Return how often an event was logged."""
        return self._log.read_text().count(f'"event": "{event}"') if self._log.exists() else 0

    def once(self) -> int:
        """Run it with --once, and return its exit code."""
        return self.done_once().returncode

    def done_once(self) -> subprocess.CompletedProcess[str]:
        command = [*REELDROP, "notify", "--once", "--config", str(self._config)]
        return run(command)


def receiver(url: str, more: str = "") -> str:
    """Return the lines for one receiver of videos and failures."""
    return f"notify: [{{url: {url}, on: [video, failed], digest_above: 1000{more}}}]"


def test_each_video_is_told_once_whatever_kills_the_notifier(
    server: MessageReceiver, tmp_path: Path
) -> None:
    """A message of each, none of half a one. A receiver that can't drop repeats gets none, either.

    That one is told of what a kill left unsure in another message, which says so.
    """
    with receiving() as other:
        other.drops = False
        notifier = Notifier(
            tmp_path,
            f"notify: [{{url: {server.url}, on: [video, failed], digest_above: 1000}}, "
            f"{{url: {other.url}, on: [video, failed], digest_above: 1000, repeat: never}}]",
        )
        dice, process = random.Random(1), notifier.start()
        for number in range(VIDEOS):
            notifier.place.publish(f"{number}.txt", f"film {number}")
            if number % (VIDEOS // KILLS) == 0:
                told = dice.randrange(number + 1)
                await_that(lambda told=told: server.requests >= told, f"{told} requests")
                process.kill()
                process.wait()
                process = notifier.start()
        films = {f"film {number}" for number in range(VIDEOS)}
        await_that(lambda: set(server.titles()) >= films, "a message of each video")
        await_that(lambda: films_in(other) == films, "each video at the other one")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait()
        assert 0 == notifier.once()
        assert Counter(films) == Counter(server.titles())
        assert server.dropped <= notifier.count("told_again")
        plain = Counter(title for title in other.titles() if title in films)
        assert plain.keys() <= films
        assert {1} == set(plain.values())
        unsure = [title for title in other.titles() if title not in films]
        assert all(title.startswith("perhaps told before: ") for title in unsure)
        assert len(unsure) <= notifier.count("told_as_unsure")  # a kill may come between


def films_in(receiver: MessageReceiver) -> set[str]:
    """Return what a receiver was told of, also as unsure."""
    lines = "\n".join(f"{one['title']}\n{one['message']}" for one in list(receiver.messages))
    return {line for line in lines.splitlines() if line.startswith("film ")}


def test_a_receiver_that_hangs_keeps_no_other_waiting(
    server: MessageReceiver, tmp_path: Path
) -> None:
    """Nor a program that fails; what could not be told is told later."""
    done = tmp_path / "done"
    with receiving() as hanging:
        hanging.answers.clear()
        notifier = Notifier(
            tmp_path,
            f"notify: [{{url: {hanging.url}}}, {{url: {server.url}, on: [video, job, failed]}}]",
            "on_video: [/bin/sh, -c, 'exit 7']",
            f"on_job: [/bin/sh, -c, 'echo $REELDROP_PROMPT_FILE >>{done}']",
            f"metrics: {{textfile: {tmp_path}/reeldrop.prom}}",
        )
        process = notifier.start()
        notifier.place.publish("poems/a.txt", "a boat")
        notifier.place.end("poems/a.txt")
        await_that(lambda: done.exists() and len(server.messages) == 2, "both messages")
        notifier.place.fail("b.txt", "unknown key 'stpes'")
        server.await_titles("a boat", "poems/a.txt is done", "b.txt could not be rendered")
        assert "poems/a.txt\n" == done.read_text()
        assert 1 == notifier.count("hook_failed")
        await_that(lambda: hanging.requests > 0, "a request that hangs")
        for place in ("", str(tmp_path / "elsewhere")):  # where the unit has its record
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("STATE_DIRECTORY", place)
                beside = notifier.done_once()  # it would tell the same
            assert (75, True) == (beside.returncode, "another `reeldrop notify`" in beside.stderr)
        numbers = tmp_path / "reeldrop.prom"
        await_that(lambda: "reeldrop_failures_total 1.0" in numbers.read_text(), "the numbers")
        assert 'reeldrop_videos_total{model="tiny"} 1.0' in numbers.read_text()
        process.kill()
        process.wait()
        hanging.answers.set()
        assert 0 == notifier.once()
        assert ["a boat", "b.txt could not be rendered"] == sorted(hanging.titles())
    assert 3 == len(server.messages)


def test_what_is_there_before_the_first_start_is_not_told(
    server: MessageReceiver, tmp_path: Path
) -> None:
    """And a receiver that does not work ends `--once` with 75; later it is told."""
    notifier = Notifier(tmp_path, receiver(server.url))
    notifier.place.publish("old.txt", "old")
    assert 0 == notifier.once()
    server.code = 500
    notifier.place.publish("new.txt", "new")
    assert 75 == notifier.once()
    server.code = 200
    assert 0 == notifier.once()
    server.await_titles("new")


def test_an_address_may_get_kinds_of_events_in_different_manners(tmp_path: Path) -> None:
    """Such as videos by day, and trouble at once: what each was told outlives long records."""
    (tmp_path / "config.yaml").write_text(
        "notify:\n"
        "- {url: 'json://localhost', on: [video], quiet: '22:00-07:00'}\n"
        "- {url: 'json://localhost', on: [failed]}\n"
    )
    settings, state = config.load(tmp_path / "config.yaml"), tmp_path / "state"
    settings.spool.mkdir()
    told = [[(f"{kind} {number}", 9.0) for number in range(1500)] for kind in ("video", "failed")]
    for delivery, ids in zip(deliveries_of(Teller(settings, state, 1.0)), told, strict=True):
        delivery.record.finish(ids)
    [file] = state.glob("*.jsonl")
    record = Record(file, 10.0)
    assert all(record.is_told(*one) for ids in told for one in ids)


def test_the_record_of_a_receiver_that_was_taken_away_is_removed(tmp_path: Path) -> None:
    """When all that it could keep from being told again counts as told anyway."""
    (tmp_path / "config.yaml").write_text("notify: [{url: 'json://localhost'}]\n")
    settings, state = config.load(tmp_path / "config.yaml"), tmp_path / "state"
    settings.spool.mkdir()
    state.mkdir()
    old, new = state / "old.jsonl", state / "new.jsonl"
    for file, at in ((old, 1), (new, 100)):
        file.touch()
        os.utime(file, (at, at))
    assert deliveries_of(Teller(settings, state, KEPT_SECONDS + 50))
    assert (False, True) == (old.exists(), new.exists())
    assert 2 == len(list(state.glob("*.jsonl")))


def test_a_start_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the service was stopped by somebody before, and never came as far as its lock, and if
    each has the same pid, as in a container; but not if somebody at a terminal has read it."""
    file, report = tmp_path / "config.yaml", tmp_path / "spool" / status.FILE_NAME
    file.write_text("model: bundled\n")
    report.parent.mkdir()
    then = "2026-11-24T22:40:47+00:00"
    stopped = status.Status(os.getpid(), status.State.STOPPED, "bundled", then)
    status.write(report, stopped)
    states, now = States(), time.time()
    assert [] == states.look(stopped, is_running=False, now=now - 100)
    for is_attended in (True, False):
        monkeypatch.setattr("sys.stdin.isatty", lambda is_so=is_attended: is_so)
        with pytest.raises(Unavailable):
            run_daemon(file, drain=False)
        assert is_attended == (stopped == status.read(report))
    found = status.read(report)
    assert found is not None
    assert "there is no such folder" in found.reason
    assert [] == states.look(found, is_running=False, now=now)
    [down] = states.look(found, is_running=False, now=now + 100)
    assert "down" == down.kind
    file.write_text("model: nonsense\n")
    status.write(report, stopped)
    with pytest.raises(ConfigError):
        run_daemon(file, drain=False)
    assert "there is no profile 'nonsense'" in getattr(status.read(report), "reason", "")


def deliveries_of(teller: Teller) -> list[Delivery]:
    """Return the deliveries of a teller, after their end."""
    found: list[Delivery] = vars(teller)["_deliveries"]
    assert teller.end(5)
    return found


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((), "nobody to tell"),
        (("notify: [{url: 'nonsense://x'}]",), "nonsense:"),
        (("notify: [{url: 'json://x', on: [films]}]",), "films"),
        (("metrics: {port: 99999}",), "port"),
        (("notify: [{url: 'json://x', quiet: 22-7}]",), "two times of a day"),
        (("notify: [{url: 'json://x', title: {video: '{seconds:.1f}'}}]",), "can't be filled"),
        (("notify: [{url: 'json://x, json://y'}]",), "several"),
        (("notify: [{url: 'json://x'}, {url: 'json://x', on: [idle, down]}]",), "'down' in on"),
    ],
)
def test_what_is_wrong_in_config_is_said(
    lines: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    """Exit code 78, with what is wrong."""
    Notifier(tmp_path, *lines)
    command = [*REELDROP, "notify", "--config", str(tmp_path / "config.yaml")]
    done = run(command)
    assert problem in done.stderr
    assert 78 == done.returncode


def test_numbers_are_served_on_a_port_of_this_machine(tmp_path: Path) -> None:
    """In the format that Prometheus reads, with what there is before anything happens."""
    port = free_port()
    notifier = Notifier(tmp_path, f"metrics: {{port: {port}}}")
    process = notifier.start()
    address = f"http://127.0.0.1:{port}/metrics"

    def text() -> str:
        with urllib.request.urlopen(address) as answer:
            return str(answer.read().decode())

    await_that(lambda: "reeldrop_disk_free_bytes{" in text(), "the first look")
    assert "reeldrop_up 0.0" in text()
    notifier.place.publish("a.txt", "a boat")
    await_that(lambda: 'reeldrop_batch_seconds_sum{model="tiny"} 1.5' in text(), "the video")
    process.terminate()
    assert 0 == process.wait()


def test_the_watchdog_waits_for_longer_than_any_pause() -> None:
    """A look at many folders is followed by a longer pause, but the unit's watchdog bites none."""
    unit = Path(__file__).parents[2] / "systemd" / "reeldrop-notify.service"
    (minutes,) = re.findall("WatchdogSec=([0-9]+)min", unit.read_text())
    assert [5, 40, 600] == [pause(usual, look) for usual, look in ((5, 0.1), (5, 2), (600, 2))]
    assert pause(600, 250) + 250 < 60 * int(minutes)


def free_port() -> int:
    """Return a port of this machine that was free a moment ago."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
