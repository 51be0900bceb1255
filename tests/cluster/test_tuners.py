"""`reeldrop tune` on a real Ray cluster, whose nodes differ in the number of threads."""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.ray_cluster import RayCluster
from harness.site import CONFIG, make_site
from reeldrop.base.errors import RendererDied, RenderError, Unavailable
from reeldrop.base.events import (
    Event,
    FleetBroken,
    FleetTrouble,
    FromRenderer,
    ModelFailed,
    RendererEnded,
    RendererJoined,
    RendererLeft,
    SignOfLife,
)
from reeldrop.base.fleet import Device
from reeldrop.base.job import Cause
from reeldrop.base.trial import Trial, Tried, Tuned
from reeldrop.cluster import tuners
from reeldrop.config import config as configuration
from reeldrop.config import profiles
from reeldrop.config.config import Config
from reeldrop.tune import tuned

KINDS = ["cpu, 1 threads", "cpu, 2 threads"]


def test_each_kind_of_card_is_measured(tmp_path: Path, least_pipeline: Path) -> None:
    """What is found is kept for that kind. Of the optimizations one is tried, and batches."""
    cluster = RayCluster(tmp_path)
    site = make_site(tmp_path / "site", least_pipeline)
    speed = "    speed: {compile: off, mixed_precision: false}\n"
    tiny = CONFIG.format(pipeline=least_pipeline).replace("e_steps: 3", "e_steps: 1") + speed
    (site.folder / "config.yaml").write_text(cluster.settings + tiny)
    try:
        cluster.start(0)
        cluster.start(1, threads=2)
        done = site.command("tune", "--rounds", "1", "--json")
    finally:
        cluster.close()
    assert 0 == done.returncode, done.stderr
    trials = json.loads(done.stdout)["trials"]
    for kind in KINDS:
        ways = [trial["what"] for trial in trials if trial["device"] == kind]
        assert "plain" == ways[0]
        assert len({*ways}) == len(ways) > 1
        assert f"{kind}: 1/" in done.stderr
    found = configuration.load(site.folder / "config.yaml")
    assert KINDS == sorted(tuned.read(site.spool)["tiny"])
    assert KINDS == sorted(profiles.source("tiny", found).tuned)  # they are valid


class Fleet:
    """Lends renderers that note what they are to do, and tells what a test says.

    expected: as of a fleet of a cluster
    """

    def __init__(self, expected: int | None, *events: Event) -> None:
        self.expected = expected
        self.events = events
        self.asked: list[str] = []
        self.is_closed = False

    def make(self, _config: Config, tell: Callable[[Event], None]) -> Fleet:
        """Be the fleet of a cluster."""
        for event in self.events:
            tell(event)
        return self

    def begin(self) -> None: ...

    def renderer(self, id: str) -> Fleet:
        self._last = id
        return self

    def tune(self, *_order: object) -> None:
        self.asked.append(self._last)

    def close(self) -> None:
        self.is_closed = True


DONE = Tuned({}, 2)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The settings of a service on a cluster."""
    file = tmp_path / "config.yaml"
    file.write_text("engine: ray\n" + CONFIG.format(pipeline=tmp_path))
    return configuration.load(file)


def joined(id: str, name: str, gpu: str = "") -> RendererJoined:
    """Return that a renderer is there."""
    return RendererJoined(id, Device(name, gpu=gpu))


@pytest.mark.parametrize(
    ("expected", "events", "asked", "problem"),
    [
        (3, [joined("a", "one"), joined("b", "2 x one", "one"), joined("c", "two"),
             FromRenderer("a", DONE), FromRenderer("c", DONE)], "ac", ""),
        (1, [joined("a", "one"), RendererLeft("a", "killed", Cause.WORK), joined("b", "one")],
         "a", "one: killed"),
        (2, [joined("a", "one"), joined("b", "two"), FromRenderer("b", DONE),
             FromRenderer("a", ModelFailed("tiny", RenderError("too small")))],
         "ab", "one: too small"),
        (1, [joined("a", "one"), FromRenderer("a", RendererEnded(RendererDied("a defect")))],
         "a", "one: a defect"),
        (2, [joined("a", "one"), FleetTrouble("b has another version"), FromRenderer("a", DONE)],
         "a", "1 of 2 renderers have joined: b has another version"),
        (2, [joined("a", "one"), joined("b", "one"), RendererLeft("b", "killed", Cause.WORK),
             FromRenderer("a", DONE)], "a", ""),
        (0, [FleetTrouble("no node has a GPU")], "",
         "0 of all renderers have joined: no node has a GPU"),
        (None, [], "", "0 of all renderers have joined: some need too long"),
        (None, [FleetTrouble("no token", is_final=True)], "", "no token"),
        (None, [FleetBroken(RendererDied("a defect"))], "", "a defect"),
    ],
)  # fmt: skip
def test_what_is_asked_of_which_renderer_and_what_is_told(
    expected: int | None,
    events: list[Event],
    asked: str,
    problem: str,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one of each kind measures. What fails is told when the others have ended."""
    fleet = Fleet(expected, *events)
    monkeypatch.setattr(tuners, "ClusterFleet", fleet.make)
    if "have joined" in problem:
        monkeypatch.setattr(tuners, "JOIN_SECONDS", 0.5)
    told: list[object] = []
    with contextlib.ExitStack() as stack:
        if problem:
            found = (Unavailable, RendererDied)
            stack.enter_context(pytest.raises(found, match=f"^{problem}$"))
        told += tuners.tune(config, "tiny", 1)
    assert list(asked) == fleet.asked
    assert sum(isinstance(e, FromRenderer) and e.event is DONE for e in events) == len(told)
    assert fleet.is_closed


def test_a_card_that_hangs_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one that makes progress measures for as long as it needs. What comes late is lost."""
    now = [1000.0]
    monkeypatch.setattr(tuners, "time", SimpleNamespace(monotonic=lambda: now[0]))
    trial = Tried(Trial("plain", True), 9)
    later: list[tuple[int, Event | None]] = [
        (0, joined("a", "one")),
        (0, joined("b", "two")),
        (1700, FromRenderer("a", SignOfLife(1))),
        (1700, FromRenderer("b", trial)),
        (1700, FromRenderer("b", SignOfLife(2))),
        (1, None),
        (1, FromRenderer("a", DONE)),
        (1700, FromRenderer("b", DONE)),
    ]

    class Events(queue.SimpleQueue[Event]):
        """Gives each event after its seconds, or none then."""

        def get(self, *_block: object, **_timeout: object) -> Event:
            seconds, event = later.pop(0)
            now[0] += seconds
            if event is None:
                raise queue.Empty
            return event

    fleet = Fleet(2)
    told: list[object] = []
    tuning = tuners._Tuning(config, "tiny", 1, fleet)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"^one: no progress for 30 minutes$"):
        told += tuning.told_by(Events())
    assert [("two", trial), ("two", DONE)] == told
