"""receivers, words and states: what a service and a program are given, and what goes wrong."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.message_receiver import MessageReceiver, receiving
from PIL import Image
from reeldrop.base.errors import ConfigError
from reeldrop.notices import receivers, words
from reeldrop.notices.happenings import Happening
from reeldrop.notices.parcels import NotDelivered, Parcel
from reeldrop.notices.receivers import Program, Service
from reeldrop.notices.states import PATIENCE_SECONDS, States
from reeldrop.store.status import Numbers, Rendering, State, Status
from structlog.testing import capture_logs

FACTS = {
    "prompt": "a {boat}\x1b[31m <b>",
    "prompt_file": "a.txt",
    "video": "/r/a.mp4",
    "seconds": "1.5",
    "model": "m",
}
VIDEO = Happening("video", "video 1", 0.0, FACTS)


def parcel(*happenings: Happening, **more: Any) -> Parcel:
    """Return what is sent at once."""
    return Parcel(happenings, "key", **more)


@pytest.fixture
def server() -> Iterator[MessageReceiver]:
    """A server that takes messages."""
    with receiving() as made:
        yield made


def test_a_message_has_the_facts_and_the_poster(server: MessageReceiver, tmp_path: Path) -> None:
    """Texts of strangers are escaped and no templates; texts of config.yaml replace the usual."""
    poster = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(poster)
    Service(server.url, {}, {}, attaches=True).take(parcel(replace(VIDEO, poster=poster)))
    server.keys.clear()
    titles, bodies = {"video": "{model}: {prompt}{none}"}, {"video": "{video}"}
    Service(server.url, titles, bodies, attaches=False).take(parcel(replace(VIDEO, poster=poster)))
    first, second = server.messages
    assert "a {boat}\\x1b[31m <b>" == first["title"]
    assert "/r/a.mp4\nfrom a.txt, 1.5 s with m" == first["message"]
    assert ["a.jpg"] == [one["filename"] for one in first["attachments"]]
    assert ("m: a {boat}\\x1b[31m <b>", "/r/a.mp4") == (second["title"], second["message"])
    assert [] == second["attachments"]


def test_a_poster_that_is_gone_keeps_no_message_back(
    server: MessageReceiver, tmp_path: Path
) -> None:
    """Nor one that has become a link, or something else; they are not sent."""
    (tmp_path / "secret").write_bytes(b"\xff\xd8 a secret")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "text.jpg").write_text("a secret")
    service = Service(server.url, {}, {}, attaches=True)
    for name in ("none.jpg", "link.jpg", "text.jpg"):
        server.keys.clear()
        service.take(parcel(replace(VIDEO, poster=tmp_path / name)))
    assert [[]] * 3 == [message["attachments"] for message in server.messages]


def test_a_digest_counts_and_lists(server: MessageReceiver) -> None:
    """Many happenings are one message, with the last of them by name."""
    failed = [Happening("failed", f"{n}", 0.0, {"prompt_file": f"{n}.txt"}) for n in range(100)]
    Service(server.url, {}, {}, attaches=True).take(parcel(VIDEO, *failed))
    [message] = server.messages
    assert "1 video, 100 failed" == message["title"]
    lines = message["message"].splitlines()
    assert "and 71 earlier ones" == lines[0]
    assert "99.txt could not be rendered" == lines[-1]


def test_every_kind_has_words() -> None:
    """A title and a body, also if no fact is known."""
    for kind in words.TITLES:
        title, body = words.message([Happening(kind, "x", 0.0)], {}, {})
        assert title is not None
        assert body is not None
        assert words.message([Happening(kind, "x", 0.0)] * 2, {}, {})[0]


def problem(service: Service, happening: Happening = VIDEO) -> tuple[bool, bool, str]:
    """Return whether a message may have arrived, whether it was refused, and what is said."""
    with pytest.raises(NotDelivered) as found:
        service.take(parcel(happening))
    return found.value.may_have_arrived, found.value.is_refused, str(found.value)


def test_a_service_that_does_not_take_a_message_says_why(server: MessageReceiver) -> None:
    """Whether it may have come is known, whatever a prompt says: not after an error, nor if nobody
    is there."""
    service = Service(server.url, {}, {}, attaches=True)
    for code, is_unsure, is_refused in (
        (500, False, False),
        (404, False, False),
        (413, False, True),
        (504, True, False),
    ):
        server.code = code
        assert (is_unsure, is_refused) == problem(service)[:2]
        assert f"error={code}" in problem(service)[2]
    server.answers.clear()
    slow = Service(f"{server.url}?rto=0.1", {}, {}, attaches=True)
    lying = replace(VIDEO, facts={**FACTS, "prompt": "NewConnectionError, Connection refused"})
    assert (True, False) == problem(slow, lying)[:2]
    server.close()
    is_unsure, is_refused, said = problem(service)
    assert (False, False) == (is_unsure, is_refused)
    assert "connection error" in said.lower()


def test_mail_that_was_surely_not_sent_is_told_from_what_may_have_arrived() -> None:
    """Nobody listens, or the server refuses; but not if it says nothing at the end."""
    for answers, is_unsure in (([b"554 no\r\n"], False), ([], True)):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"mailto://127.0.0.1:{listening.getsockname()[1]}"
            service = Service(f"{address}?from=a@b.org&to=c@b.org", {}, {}, attaches=False)

            def serve(answers: list[bytes] = answers, listening: socket.socket = listening) -> None:
                with listening.accept()[0] as connection:
                    connection.sendall(b"".join(answers))

            server = threading.Thread(target=serve)
            server.start()
            assert is_unsure == problem(service)[0]
            server.join()
    assert not problem(service)[0]


def test_what_comes_twice_can_be_dropped(server: MessageReceiver) -> None:
    """By a key in the header, of services that are the operator's own."""
    service = Service(server.url, {}, {}, attaches=True)
    for key in "aab":
        service.take(Parcel((VIDEO,), key))
    assert (2, 1) == (len(server.messages), server.dropped)
    assert service.has_key
    assert not Service("ntfy://localhost/films", {}, {}, attaches=True).has_key


def test_what_may_have_come_before_is_told_so(server: MessageReceiver) -> None:
    """And what was refused is sent without a poster, and with the usual texts."""
    service = Service(server.url, {"video": "own"}, {}, attaches=True)
    service.take(parcel(VIDEO, is_unsure=True))
    assert ("perhaps told before: 1 video", "own") == (
        server.messages[0]["title"],
        server.messages[0]["message"],
    )
    server.keys.clear()
    service.take(parcel(VIDEO, is_plain=True))
    assert "a {boat}\\x1b[31m <b>" == server.messages[1]["title"]


def test_a_text_that_facts_do_not_go_into_is_replaced() -> None:
    """By the usual one: it was tried with other facts when config.yaml was read."""
    own = {"video": "{prompt:{seed}}"}
    for seed in ("x", "9" * 30, "9" * 12):
        one = replace(VIDEO, facts={**FACTS, "seed": seed})
        assert "a {boat}\\x1b[31m <b>" == words.message([one], own, {})[0]


def test_no_text_of_a_stranger_calls_people() -> None:
    """Discord and Mattermost would wake everybody in a channel; addresses stay as they are."""
    for called in ("@everyone", "x@here", "_@channel_", "<@123>", "@**all**", "(@room)"):
        one = Happening("video", "x", 0.0, {"prompt": f"a boat {called}", "video": called})
        for title, body in (words.message([one] * n, {}, {}) for n in (1, 2)):
            told = f"{title}\n{body}"
            assert called not in told
            assert called in told.replace("\u200b", "")
    one = Happening("video", "x", 0.0, {"prompt": "ann@example.org @ sea"})
    assert "ann@example.org @ sea" == words.message([one], {}, {})[0]


def test_a_wrong_address_is_refused_without_its_secrets() -> None:
    """The message does not have what may be a password."""
    with pytest.raises(ConfigError, match="nonsense://") as refused:
        Service("nonsense://user:hunter2@host", {}, {}, attaches=True)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError, match="use an address under notify, or") as refused:
        Service("hunter2@host", {}, {}, attaches=True)
    assert "hunter2" not in str(refused.value)
    service = Service("json://user:hunter2@localhost", {}, {}, attaches=True)
    assert "hunter2" not in service.name


def program(*lines: str, seconds: float = 30) -> Program:
    """Return a program in Python."""
    return Program("video", [sys.executable, "-c", "\n".join(lines)], seconds)


def test_a_program_gets_the_facts(tmp_path: Path) -> None:
    """In its environment and on stdin; no shell reads anything; its output is in the log."""
    told = tmp_path / "told"
    facts = {**FACTS, "prompt": "$(touch x)\0; `id`"}
    lines = (
        "import json, os, sys",
        "found = json.load(sys.stdin), dict(os.environ)",
        f"open({str(told)!r}, 'w').write(json.dumps(found))",
        "print('done', file=sys.stderr)",
    )
    with capture_logs() as logs:
        program(*lines).take(parcel(replace(VIDEO, facts=facts)))
    stdin, environment = json.loads(told.read_text())
    assert {"event": "video", "id": "video 1", **facts} == stdin
    assert "$(touch x); `id`" == environment["REELDROP_PROMPT"]
    assert "/r/a.mp4" == environment["REELDROP_VIDEO"]
    assert ("hook_done", "done") == (logs[-1]["event"], logs[-1]["output"])


def test_what_a_program_does_wrong_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit codes, no such program, much output, a closed stdin, children that stay, no end."""
    child = tmp_path / "child"
    hanging = (
        "import subprocess, sys, time",
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
        f"open({str(child)!r}, 'w').write(str(child.pid))",
        "print('begun', flush=True)",
        "time.sleep(600)",
    )
    monkeypatch.setattr(receivers, "MAX_OUTPUT_BYTES", 1000)
    endless = "import time; print('y' * 5000, flush=True); time.sleep(600)"
    programs = [
        (program("raise SystemExit(3)"), "exit code 3", ""),
        (Program("video", [str(tmp_path / "none")], 1), "No such file", ""),
        (Program("video", ["a\0b"], 1), "null byte", ""),
        (program("print('x' * 10**6)", "raise SystemExit(4)"), "exit code 4", "x" * 3999),
        (program("import sys", "sys.stdin.close()"), "", ""),
        (program(endless), "it printed more", "y" * 3999),
        (program(*hanging, seconds=3), "longer than 3 s", "begun"),
    ]
    for one, reason, output in programs:
        with capture_logs() as logs:
            one.take(parcel(VIDEO))
        assert reason in logs[-1].get("reason", "")
        assert output == logs[-1].get("output", "")
    await_end(int(child.read_text()))


def await_end(pid: int) -> None:
    """Wait until a process that was killed is gone."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and state_of(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """Return the state of a process, in the letters of ps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def status(state: State = State.IDLE, **more: Any) -> Status:
    """Return a status that was written at a fixed time."""
    return Status(1, state, "m", "2026-01-01T00:00:00+00:00", **more)


RENDERING = Rendering("j", "a.txt", "a", 1, 1, 1, 2, None)


def kinds(
    states: States, now: float, found: Status | None, *, is_running: bool = True
) -> list[str]:
    """Return the kinds of what is told at a look."""
    return [one.kind for one in states.look(found, is_running=is_running, now=now)]


def test_the_end_of_all_work_is_told_once() -> None:
    """When nothing is rendered any more and nothing waits."""
    states = States()
    assert [] == kinds(states, 0, None)
    assert [] == kinds(states, 0, status())
    assert [] == kinds(states, 1, status(State.RENDERING, rendering=RENDERING))
    assert ["idle"] == kinds(states, 2, status())
    assert [] == kinds(states, 3, status())
    assert [] == kinds(states, 4, status(State.RENDERING, rendering=RENDERING))
    assert [] == kinds(states, 5, status(waiting_count=1))


def test_work_that_no_look_has_seen_ends_too() -> None:
    """Between two looks, a short file is rendered whole: only the numbers tell it."""
    states = States()
    before = status(numbers=Numbers("a", busy_seconds=7.0))
    assert [] == kinds(states, 0, before)
    assert [] == kinds(states, 1, before)
    assert ["idle"] == kinds(states, 2, status(numbers=Numbers("a", busy_seconds=8.5)))
    assert [] == kinds(states, 3, status(numbers=Numbers("b")))  # a start
    waiting = status(waiting_count=1, numbers=Numbers("b", busy_seconds=0.5))
    assert [] == kinds(states, 4, waiting)
    assert ["idle"] == kinds(states, 5, status(numbers=waiting.numbers))


def test_a_trouble_is_told_when_it_stays() -> None:
    """With its reason, and by the same id at the next look: the record tells it once."""
    states = States()
    paused = status(State.PAUSED, reason="the disk is full")
    assert [] == kinds(states, 0, paused)
    assert [] == kinds(states, PATIENCE_SECONDS - 1, paused)
    [first] = states.look(paused, is_running=True, now=PATIENCE_SECONDS)
    [second] = states.look(paused, is_running=True, now=PATIENCE_SECONDS + 5)
    assert ("trouble", "paused: the disk is full") == (first.kind, first.facts["reason"])
    assert first.id == second.id
    assert [] == kinds(states, PATIENCE_SECONDS + 6, status())
    assert [] == kinds(states, PATIENCE_SECONDS + 7, paused)


def test_a_trouble_stays_the_same_while_its_numbers_change() -> None:
    """A disk that fills up says less and less room; that is told once."""
    states, ids = States(), set()
    for second in range(0, 200, 20):
        full = status(State.PAUSED, reason=f"0.{99 - second // 20} GiB free in /r")
        found = states.look(full, is_running=True, now=second)
        ids |= {one.id for one in found}
    assert "paused: 0.90 GiB free in /r" == found[0].facts["reason"]
    assert 1 == len(ids)


def test_a_service_that_is_gone_is_told() -> None:
    """If it did not stop by itself; in another process, by the same id."""
    found = []
    for states in (States(), States()):
        assert [] == kinds(states, 0, status(State.STOPPED), is_running=False)
        assert [] == kinds(states, 0, status(), is_running=False)
        found += states.look(status(), is_running=False, now=PATIENCE_SECONDS)
    assert ["down", "down"] == [one.kind for one in found]
    assert found[0].id == found[1].id


def test_a_service_that_ends_because_of_an_error_is_told() -> None:
    """Nobody has stopped it: its last report has the reason."""
    states, ended = States(), status(State.STOPPED, reason="line 3 of config.yaml is wrong")
    assert [] == kinds(states, 0, ended, is_running=False)
    [told] = states.look(ended, is_running=False, now=PATIENCE_SECONDS)
    expected = ("down", "stopped: line 3 of config.yaml is wrong")
    assert expected == (told.kind, told.facts["reason"])


def test_a_service_that_ends_at_each_start_is_told_once() -> None:
    """It is down until it is ready: each start has another report, and none lasts a minute."""
    states, found = States(), []
    for number in range(20):
        at = {"updated": f"2026-01-01T00:00:{number:02}+00:00"}
        ended = replace(status(State.STOPPED, reason="no memory"), **at)
        for second in (0, 5):
            found += states.look(ended, is_running=False, now=20 * number + second)
        for second, state in ((10, State.STOPPED), (12, State.LOADING), (15, State.WARMING_UP)):
            now = replace(status(state, reason="m"), **at)
            assert [] == kinds(states, 20 * number + second, now)
    assert {"down"} == {one.kind for one in found}
    assert 1 == len({one.id for one in found})
    assert [] == kinds(states, 400, status())
    assert [] == kinds(states, 401, ended, is_running=False)
