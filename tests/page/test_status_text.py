"""STATUS.txt's words: what somebody reads who has nothing but the synced results."""

from __future__ import annotations

import dataclasses

import pytest
from harness.prompt_files import mistakes
from reeldrop.page import status_text
from reeldrop.store.history import Failure
from reeldrop.store.status import Model, RendererNow, Rendering, State, Status, Waiting

UPDATED = "2026-03-01T13:00:00+00:00"
STRAY = Waiting("a.json", "not a prompt file: ends in .json")
RENDERING = Rendering("j", "poems/li_bai.yaml", "a bird", 2, 4, 12, 25, 200.0, together=3)
STATUS = Status(
    1,
    State.RENDERING,
    "m",
    UPDATED,
    RENDERING,
    waiting=(Waiting("b.txt", "waits for its turn"),),
    waiting_count=1,
    models=(Model("wan", "", "no such folder"), Model("m", "device")),
    unrecognised=(STRAY,),
)
FAILURES = (Failure("bad.yaml", "unknown key 'num_frame'", UPDATED),)
SAID = """\
reeldrop: rendering

RENDERING
  poems/li_bai.yaml
      a bird
      video 2 of 4, together with 2 others, step 12 of 25
      about 3 min until the whole file is done

TROUBLE
  wan can't be used, and is tried again: no such folder

WAITING: 1, the next first
  b.txt
      waits for its turn

NOT RECOGNISED, and so not rendered
  a.json
      not a prompt file: ends in .json

FAILED OR CANCELLED, the last first; each is in _failed/, with a report
  bad.yaml
      unknown key 'num_frame'

ROOM
  810 GB free for results
"""


def said(status: Status = STATUS, free: int = 812_345_678_901) -> str:
    """Return what STATUS.txt says below the time."""
    return status_text.text(status, FAILURES, "_failed/", free)


def test_each_of_several_renderers_has_a_line() -> None:
    """And whoever waits reads why some are missing."""
    busy = RendererNow("n/1", "n: H100", State.RENDERING, "a.yaml", 1, 4, 2, 25, 3)
    idle = RendererNow("n/2", "n: T4", State.IDLE, problem="wan can't be used: too large")
    told = said(dataclasses.replace(STATUS, renderers=(busy, idle), missing="n2 is away"))
    before, _, after = told.partition("RENDERERS\n")
    assert "TROUBLE" not in before
    assert after.startswith(
        """\
  n/1, n: H100
      rendering a.yaml 1/4 and 2 beside it, step 2/25
  n/2, n: T4
      idle; wan can't be used: too large

TROUBLE
  wan can't be used, and is tried again: no such folder
  renderers are missing: n2 is away
"""
    )


def test_all_that_somebody_asks_is_in_it() -> None:
    """What renders, what waits and why, what is none, what failed and why, how much room is."""
    assert SAID == said()
    idle = Status(1, State.IDLE, "m", UPDATED)
    room = "ROOM\n  12 MB free for results\n"
    assert f"reeldrop: idle\n\nWAITING\n  nothing\n\n{room}" == status_text.text(
        idle, (), "_failed/", 12_000_000
    )


def test_it_says_when_it_is_too_old_to_be_true() -> None:
    """A service that was killed can't write that it does not run."""
    running = status_text.dated(STATUS, SAID)
    assert running.startswith("reeldrop: rendering\n\nWritten 2026-03-01 ")
    assert "more than\n15 minutes ago, the service does not run" in running
    assert running.endswith("\n\nRENDERING\n" + SAID.partition("RENDERING\n")[2])
    halted = dataclasses.replace(STATUS, state=State.STOPPED)
    stopped = status_text.dated(halted, said(halted))
    assert stopped.startswith("reeldrop: stopped\n")
    assert "15 minutes" not in stopped
    assert "waits until it is started again" in stopped


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nROOM\n", "\u202egnp.exe", "x" * 4000])
def test_names_of_strangers_stay_on_their_line(name: str) -> None:
    """They can't write lines of their own, act on a terminal, or make the file large."""
    waiting = (Waiting(name, name),) * 100
    hostile = dataclasses.replace(
        STATUS,
        rendering=dataclasses.replace(RENDERING, prompt=name, prompt_file=name),
        waiting=waiting,
        waiting_count=5000,
        unrecognised=(STRAY,),
        reason=name,
    )
    text = status_text.dated(hostile, said(hostile))
    assert 1 == sum(line.startswith("ROOM") for line in text.split("\n"))
    assert "WAITING: 5000, the next first" in text
    assert "  and more\n" in text
    assert text.replace("\n", "").isprintable()
    assert max(map(len, text.split("\n"))) <= 220
    assert len(text) < 20_000


def test_news_is_written_at_once_and_progress_once_a_minute() -> None:
    """A sync tool has to send the file each time, and a phone to fetch it."""
    later = dataclasses.replace(RENDERING, step=13, eta_seconds=190.0)
    step = said(dataclasses.replace(STATUS, rendering=later))
    news = said(dataclasses.replace(STATUS, state=State.PAUSED))
    assert status_text.PROGRESS_SECONDS == status_text.patience(SAID, step)
    assert 0 == status_text.patience(SAID, news)
    assert status_text.HEARTBEAT_SECONDS == status_text.patience(SAID, SAID)
    assert 0 == status_text.patience("", SAID)


def test_a_status_that_comes_into_the_inbox_is_no_prompt_file() -> None:
    """Whoever copies the results into the inbox does not want its lines filmed."""
    text = status_text.dated(STATUS, SAID).encode()
    (found,) = mistakes(text, "STATUS.txt")
    assert ("this is what reeldrop says of itself", "remove it") == (found.problem, found.remedy)
