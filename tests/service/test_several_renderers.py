"""Several renderers at once, which join and leave while the daemon works.

They are those of a process, each with a pipeline of its own; only their fleet is made here.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from harness.looped import Looped
from harness.processes import await_that
from harness.site import CONFIG, Daemon, Hold, make_site
from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, Mistake, RendererDied, RenderError
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Event,
    FleetBroken,
    FleetTrouble,
    FromRenderer,
    ModelFailed,
    ModelLoaded,
    Reload,
    RendererEnded,
    RendererEvent,
    RendererJoined,
    RendererLeft,
    StepDone,
    Wake,
)
from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch, Cause, Member
from reeldrop.config import config as configuration
from reeldrop.config import profiles
from reeldrop.host.ending import StallWatch
from reeldrop.render import fitting
from reeldrop.render.fleet import OwnRenderer
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource
from reeldrop.service import benches
from reeldrop.store import job_files, status
from reeldrop.store.status import State
from reeldrop.video import mp4_index, received, remote

ONE_ATTEMPT = "max_attempts: 1\nretry_seconds: 3600\n"


class Own:
    """A renderer that can be held in a step, and be lost from the service's view.

    encodes: a folder for files or None for bytes, if it encodes its videos; else it gives frames
    late: what it has told of batches since it was lost
    too_large: what is in the text of prompts for which its memory does not suffice
    shortages: how often it did not
    has_orders: whether the service that it is lent to has ordered anything
    """

    def __init__(self, sources: object) -> None:
        self.renderer = InProcessRenderer(sources, self._take)  # type: ignore[arg-type]
        self.tell: Callable[[RendererEvent], None] = lambda _event: None
        self.encodes: Path | str | None = ""
        self.late: list[RendererEvent] = []
        self.seen: list[str] = []
        self.cancelled: list[Batch] = []
        self.given: list[Batch] = []
        self.too_large = ""
        self.needs_a_file = ""
        self.shortages = 0
        self.has_orders = False
        self.is_held = threading.Event()
        self._held_text = ""
        self._goes = threading.Event()
        self._goes.set()

    def hold(self, text: str = "") -> None:
        """Stop in the next step of a batch with this text."""
        self._held_text = text
        self.is_held.clear()
        self._goes.clear()

    def release(self) -> None:
        """Go on."""
        self._goes.set()

    def _take(self, event: RendererEvent) -> None:
        if isinstance(event, StepDone) and event.batch.members[0].job_id:
            texts = [prompt.prompt for prompt in event.batch.prompts]
            if any(self.needs_a_file and self.needs_a_file in text for text in texts):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/etc/hostname")
            if self.too_large and any(self.too_large in text for text in texts):
                self.shortages += 1
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            if event.step == 1:
                self.seen += [prompt.prompt for prompt in event.batch.prompts]
            if any(self._held_text in prompt.prompt for prompt in event.batch.prompts):
                self.is_held.set()
                assert self._goes.wait(60)
        if isinstance(event, BatchRendered) and self.encodes != "":
            assert not isinstance(self.encodes, str)
            event = remote.encoded(event, "libx264", self.encodes)
        self.tell(event)


class Fleet:
    """Lends renderers of this process to a service, each under a new id.

    failures: errors of the next loads
    hanging: ids of those that never end a load
    broken: ids of those that fail each prompt
    dying: ids of those that are lost in the first step of a prompt
    late: what it tells while it is closed
    """

    can_lose = True

    def __init__(self, owns: list[Own]) -> None:
        self._owns = owns
        self._lent: dict[str, Own] = {}
        self._put: Callable[[Event], None] = lambda _event: None
        self.at_once: list[str] = []
        self.failures: list[Exception] = []
        self.hanging: set[str] = set()
        self.broken: set[str] = set()
        self.dying: set[str] = set()
        self.late: list[Event] = []
        self.ended: list[tuple[str, str]] = []
        self.paused: dict[str, float] = {}

    def make(self, _config: object, tell: Callable[[Event], None]) -> Fleet:
        """Be the fleet of a service."""
        self._put = tell
        self._lent.clear()
        return self

    def __getitem__(self, id: str) -> Own:
        return self._lent[id]

    def lend(
        self, id: str, name: str = "cpu", gibibytes: int = 0, place: str = ""
    ) -> RendererJoined:
        """Give a renderer to the service, by an event that the caller posts."""
        own = next(own for own in self._owns if own not in self._lent.values())
        self._lent[id] = own
        own.late.clear()
        own.seen.clear()
        own.cancelled.clear()
        own.given.clear()
        own.encodes, own.has_orders = "", False
        own.too_large, own.needs_a_file, own.shortages = "", "", 0

        def told(event: RendererEvent) -> None:
            if not own.has_orders:  # it still answers the service before
                return
            if isinstance(event, ModelLoaded) and id in self.hanging:
                return
            if isinstance(event, ModelLoaded) and self.failures:
                event = ModelFailed(event.model, self.failures.pop())
            if isinstance(event, StepDone) and id in self.dying and event.batch in own.given:
                self.dying.discard(id)
                self._put(self.lose(id))
                return
            if isinstance(event, BatchRendered) and id in self.broken and event.batch in own.given:
                event = BatchFailed(event.batch, RenderError("a broken driver"))
            self._put(FromRenderer(id, event))

        own.tell = told
        return RendererJoined(id, Device(name, "node", gibibytes << 30, place=place))

    def lose(self, id: str) -> RendererLeft:
        """Take a renderer away, by an event that the caller posts."""
        self._lent.pop(id).release()
        return RendererLeft(id, "it was killed", Cause.WORK)

    def begin(self) -> list[RendererJoined]:
        return [self.lend(name) for name in self.at_once]

    def renderer(self, id: str) -> InProcessRenderer:
        return _Lent(self._lent[id])  # type: ignore[return-value]

    def end(self, id: str, reason: str, pause: float = 0.0) -> None:
        self.ended.append((id, reason))
        self.paused[id] = pause

    def close(self) -> None:
        for event in self.late:
            self._put(event)


def _is_of_job(batch: Batch) -> bool:
    return bool(batch.members[0].job_id)


class _Lent:
    """A renderer that stays when the service ends."""

    def __init__(self, own: Own) -> None:
        self._own = own

    def _ordered(self) -> InProcessRenderer:
        self._own.has_orders = True
        return self._own.renderer

    def load(self, model: str) -> None:
        self._ordered().load(model)

    def use(self, sources: Mapping[str, ModelSource]) -> None:
        self._ordered().use(sources)

    def release(self, model: str, *, keeps: bool) -> None:
        self._ordered().release(model, keeps=keeps)

    def render(self, batch: Batch) -> None:
        if _is_of_job(batch):
            self._own.given.append(batch)
        self._ordered().render(batch)

    def cancel(self, batch: Batch) -> None:
        self._own.cancelled.append(batch)
        self._own.renderer.cancel(batch)

    def close(self) -> None: ...


def loaded(own: Own) -> Own:
    """Load the model, while nobody else loads one: diffusers can't do that in two threads."""
    told = queue.SimpleQueue[RendererEvent]()
    own.tell = told.put
    own.renderer.load("tiny")
    while not isinstance(told.get(timeout=60), ModelLoaded):
        pass
    return own


@pytest.fixture(scope="module")
def owns(least_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Own]]:
    """Three renderers, whose pipeline is loaded once for all tests."""
    folder = tmp_path_factory.mktemp("owns")
    file = folder / "config.yaml"

    file.write_text(CONFIG.format(pipeline=least_pipeline))
    sources = profiles.sources(configuration.load(file))
    made = [loaded(Own(sources)) for _ in range(3)]
    yield made
    for own in made:
        own.release()
        own.renderer.close()


@pytest.fixture
def fleet(owns: list[Own]) -> Iterator[Fleet]:
    """A fleet of the three."""
    yield Fleet(owns)
    for own in owns:
        own.release()


def in_hand(run: Looped) -> dict[str, str]:
    """Return the prompt file that each renderer renders."""
    if run.status is None:
        return {}
    renderers = run.status.renderers
    return {found.id: found.what for found in renderers if found.state is State.RENDERING}


def times(run: Looped) -> dict[Path, int]:
    """Return when each file of the results was changed."""
    found = (path for path in run.config.results.glob("[!.]*/*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in found}


def test_what_one_had_in_hand_comes_out_elsewhere_and_once(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Two render at once; one leaves, answers late, and a third joins; videos come encoded."""
    fleet.at_once = ["a", "b"]
    run = Looped(tmp_path, least_pipeline, fleet.make)
    folder = received.folder(run.config.results, run.config.spool)
    folder.mkdir(parents=True)
    with run:
        fleet["b"].encodes = folder
        for name in "ab":
            fleet[name].hold()
        run.drop("one.txt", "first")
        run.until(lambda: len(in_hand(run)) == 1, "the first render")
        run.drop("two.txt", "second")
        run.until(lambda: set(in_hand(run)) == {"a", "b"}, "renders at once")
        assert {"one.txt", "two.txt"} == set(in_hand(run).values())
        assert run.status is not None
        assert "2 of 2 renderers render" in run.status.line()
        run.until(fleet["a"].is_held.is_set, "a step")
        lost = fleet["a"].seen
        run.events.put(RendererLeft("a", "its node burns", Cause.WORK))
        run.until(lambda: set(in_hand(run)) == {"b"}, "the loss")
        fleet["b"].release()
        run.until(lambda: len(run.videos()) == 2, "both videos")
        run.until(lambda: len(list(run.config.results.glob("*/*.txt"))) == 2, "their ends")
        assert ["first", "second"] == sorted(fleet["b"].seen)
        assert lost[0] == fleet["b"].seen[-1]
        before = times(run)
        answered = threading.Event()
        tell = fleet["a"].tell

        def told(event: RendererEvent) -> None:
            tell(event)
            if isinstance(event, BatchRendered | BatchFailed):
                answered.set()

        fleet["a"].tell = told
        fleet["a"].release()
        run.until(answered.is_set, "a late answer")
        joined = fleet.lend("c")
        fleet["c"].encodes = None
        fleet["b"].hold()
        run.events.put(joined)
        run.until(lambda: len(run.stages.benches) == 2, "another renderer")
        run.drop("three.txt", "third\nfourth\nfifth\n")
        run.until(lambda: len(run.videos()) >= 3, "a video of the one that joined")
        fleet["b"].release()
        run.until(lambda: len(run.videos()) == 5 and not any(folder.iterdir()), "all videos")
        assert fleet["c"].seen
        assert before.items() <= times(run).items()
    for sidecar in run.config.results.glob("*/*.yaml"):
        settings = strict_yaml.plain(strict_yaml.load_all(sidecar.read_text())[0])
        again = mp4_index.embedded_settings(sidecar.with_suffix(".mp4"))
        assert again.decode() == sidecar.read_text()
        assert settings["prompt"] in {"first", "second", "third", "fourth", "fifth"}


def test_only_the_prompt_that_ends_renderers_fails(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """It is rendered alone after the first loss; those beside it are rendered, once each.

    What is broken and what hangs ends its renderer, not the process.
    """
    fleet.at_once = ["1"]
    run = Looped(tmp_path, least_pipeline, fleet.make, more="max_attempts: 2\n")
    with run:
        run.until(lambda: run.status and run.status.state is State.IDLE, "readiness")
        fleet["1"].hold()
        run.drop("three.txt", "good\nbad\nfine\n")
        run.until(fleet["1"].is_held.is_set, "a batch")
        assert ["good", "bad"] == fleet["1"].seen
        [bench] = run.stages.benches
        bench._stall = StallWatch(0.1)
        run.until(lambda: fleet.ended, "the end of what hangs")
        assert ("1", "stalled: no progress for 600 s while rendering, in step 0") == fleet.ended[0]
        run.until(lambda: run.status and run.status.state is State.NO_RENDERER, "the loss")
        run.events.put(FleetTrouble("the cluster does not answer"))
        run.until(lambda: run.status and run.status.missing, "the reason")
        assert run.status is not None
        assert "no renderer: the cluster does not answer, 1 waiting" == run.status.line()
        second = fleet.lend("2")
        fleet["2"].hold("bad")
        run.events.put(second)
        run.until(fleet["2"].is_held.is_set, "the bad one alone")
        assert ["good", "bad"] == fleet["2"].seen
        ended = RendererEnded(RendererDied("the device is broken"))
        run.events.put(FromRenderer("2", ended))
        run.until(lambda: list(run.config.failed.rglob("*.error.txt")) or len(fleet.ended) == 2, "")
        run.events.put(fleet.lend("3"))
        run.until(lambda: len(run.videos()) == 2, "the others")
        run.until(lambda: list(run.config.failed.rglob("*.error.txt")), "the report")
        assert ["fine"] == fleet["3"].seen
    [report] = run.config.failed.rglob("*.error.txt")
    assert "a renderer ended in the middle of it 2 times" in report.read_text()
    assert ["three/fine", "three/good"] == run.videos()


def test_a_machine_without_descriptors_costs_no_prompt_an_attempt(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Its renderer is replaced, however often, and others render what it had in hand."""
    fleet.at_once = ["1"]
    run = Looped(tmp_path, least_pipeline, fleet.make, more=ONE_ATTEMPT)
    with run:
        fleet["1"].needs_a_file = "good"
        run.drop("two.txt", "good\nfine\n")
        run.until(lambda: len(fleet.ended) == 1, "its end")
        joined = fleet.lend("2")
        fleet["2"].needs_a_file = "good"
        run.events.put(joined)
        run.until(lambda: len(fleet.ended) == 2, "the end of the next")
        run.events.put(fleet.lend("3"))
        run.until(lambda: len(run.videos()) == 2, "both")
    reason = "its machine fails: Too many open files: /etc/hostname (this process may open no more"
    assert [True] * 2 == [told.startswith(reason) for _id, told in fleet.ended]
    assert ["two/fine", "two/good"] == run.videos()
    assert [] == list(run.config.failed.rglob("*.error.txt"))


def test_a_prompt_at_which_machine_after_machine_fails_is_to_blame_in_the_end(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """It would end all renderers for ever; what was in a batch with it is rendered."""
    fleet.at_once = ["1"]
    run = Looped(tmp_path, least_pipeline, fleet.make, more=ONE_ATTEMPT)

    def is_over() -> bool:
        return len(run.videos()) == 1 and bool(list(run.config.failed.rglob("*.error.txt")))

    with run:
        fleet["1"].needs_a_file = "good"
        run.drop("two.txt", "good\nfine\n")
        for number in range(2, 7):
            run.until(lambda n=number: len(fleet.ended) == n - 1 or is_over(), "its end")  # type: ignore[misc]
            if is_over():
                break
            fleet.lose(str(number - 1))
            joined = fleet.lend(str(number))
            fleet[str(number)].needs_a_file = "good"
            run.events.put(joined)
    assert 4 == len(fleet.ended)
    assert ["two/fine"] == run.videos()
    (report,) = run.config.failed.rglob("*.error.txt")
    assert "its machine fails: Too many open files" in report.read_text()


def test_a_file_that_the_own_renderer_lacks_costs_no_prompt_an_attempt(
    least_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is tried again, as when a disk is full."""
    step_done, fails = fitting.Fitting._step_done, [True] * 3

    def failing(one: fitting.Fitting, batch: Batch, *counts: int) -> None:
        if batch.members[0].job_id and fails:
            fails.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/etc/hostname")
        step_done(one, batch, *counts)

    monkeypatch.setattr(fitting.Fitting, "_step_done", failing)
    run = Looped(
        tmp_path,
        least_pipeline,
        lambda found, tell: OwnRenderer(profiles.sources(found), tell),
        more="max_attempts: 1\nretry_seconds: 0.1\n",
    )
    run.drop("two.txt", "good\nfine\n")
    with run:
        run.until(lambda: len(run.videos()) == 2, "both")
    assert [] == fails
    assert [] == list(run.config.failed.rglob("*.error.txt"))


def test_a_job_that_is_cancelled_ends_on_all(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Its batches are stopped wherever they are rendered, and a drain ends when all is done."""
    fleet.at_once = ["a", "b"]
    run = Looped(tmp_path, least_pipeline, fleet.make, drains=True)
    run.drop("all.txt", "".join(f"p{number}\n" for number in range(8)))
    run.drop("last.yaml", "prompt: last\npriority: -1\n")
    for name in "ab":
        fleet[name].hold("p")
    with run:
        run.until(lambda: {"all.txt"} == set(in_hand(run).values()), "a batch")
        run.until(lambda: {"a", "b"} == set(in_hand(run)), "a batch on each")
        for name in "ab":
            run.until(fleet[name].is_held.is_set, "a step")
        run.drop("all.txt.cancel", "")
        [opened] = (o for o in run.stages.jobs.opened if o.job.source.name == "all.txt")
        run.until(lambda: job_files.is_cancelled(opened.job), "the mark")
        for _ in range(3):
            run.events.put(Wake())
            run.until(run.events.empty, "another look")
        for name in "ab":
            fleet[name].release()
        run.end()
    assert ["last/last"] == run.videos()
    assert run.loop.drained_early is None
    assert "cancelled" in (run.config.failed / "all.txt.error.txt").read_text()
    for name in "ab":
        orders = fleet[name].cancelled
        assert orders
        assert len(orders) == len(set(orders))


def test_a_slow_card_leaves_the_last_video_to_a_quick_one_that_is_busy(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """As soon as it has rendered such a video; while much waits, both have work."""
    run = Looped(tmp_path, least_pipeline, fleet.make)
    with run:
        for card in ("quick", "slow"):
            run.events.put(fleet.lend(card, card))
        run.until(lambda: run.status and len(run.status.renderers) == 2, "both cards")
        run.until(lambda: run.status and run.status.state is State.IDLE, "all warm-ups")
        rules, forecast = run.stages.settings.rules["tiny"], run.stages.forecast
        assert rules is not None
        batch = Batch((Member("", profiles.sample(rules)),))
        forecast.begin(batch, 0, "slow")  # as if it had taken five seconds for a step
        for step in range(1, batch.steps + 1):
            forecast.step_done(step, 5.0 * step, "slow")
        forecast.rendered(20, "slow")
        fleet["quick"].hold()
        run.drop("first.txt", "first")
        run.until(fleet["quick"].is_held.is_set, "a step of the quick one")
        run.drop("last.txt", "last")
        run.until(lambda: len(run.stages.jobs.opened) == 2, "a look at the last file")
        for _ in range(3):
            run.events.put(Wake())
            run.until(run.events.empty, "another decision")
        assert [] == fleet["slow"].seen
        assert len(run.stages.waits.seconds(0)) == 1  # how long it is left is counted
        fleet["quick"].release()
        run.until(lambda: len(run.videos()) == 2, "both videos")
        assert ["first", "last"] == fleet["quick"].seen
        fleet["slow"].hold()
        for number in range(5):
            run.drop(f"many {number}.txt", "one of many\n" * 1000)
        run.until(fleet["slow"].is_held.is_set, "a step of the slow one")
        fleet["slow"].release()


def test_what_does_not_fit_into_a_small_card_is_left_to_a_larger_one(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small one goes on with others. Where all cards are small, the prompt fails."""
    run = Looped(tmp_path, least_pipeline, fleet.make)
    long = "num_frames: 12\nprompts: [{prompt: long}, {prompt: longer}]\n"
    with run:
        run.events.put(fleet.lend("small", "card", 24))
        run.until(lambda: run.status and run.status.state is State.IDLE, "the small one")
        fleet["small"].too_large = "long"
        fleet["small"].hold("first")
        run.drop("first.txt", "first")
        run.until(fleet["small"].is_held.is_set, "a step of the small one")
        joined = fleet.lend("large", "card", 80)
        fleet["large"].hold()
        run.events.put(joined)
        run.drop("second.txt", "second")
        run.until(fleet["large"].is_held.is_set, "a step of the large one")
        run.drop("long.yaml", long)
        fleet["small"].release()
        run.until(lambda: fleet["small"].shortages, "a shortage")
        run.drop("third.txt", "third")
        run.until(lambda: "third/third" in run.videos(), "another video of the small one")
        assert ["first/first", "third/third"] == run.videos()
        fleet["large"].release()
        run.until(lambda: len(run.videos()) == 5, "the long ones")
        assert ["first", "third"] == fleet["small"].seen
        run.events.put(RendererLeft("large", "its node burns", Cause.MACHINE))
        _expect_no_more(monkeypatch)
        run.drop("too long.yaml", long)
        run.until(lambda: list(run.config.failed.rglob("*.error.txt")), "a report")
    [report] = run.config.failed.rglob("*.error.txt")
    assert "the memory does not suffice even for 1 prompt" in report.read_text()


def _expect_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service expect no renderers that are not there, as if minutes had passed."""
    monkeypatch.setattr(benches, "JOIN_SECONDS", 0.0)
    monkeypatch.setattr(benches, "AWAY_SECONDS", 0.0)


def test_what_is_too_large_waits_for_a_larger_card_that_joins_or_comes_back(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For some minutes. Meanwhile the small one renders what is behind it in line."""
    run = Looped(tmp_path, least_pipeline, fleet.make)
    long = "num_frames: 12\nprompts: [{prompt: long}]\n"
    with run:
        run.events.put(fleet.lend("small", "card", 24))
        run.until(lambda: run.status and run.status.state is State.IDLE, "the small one")
        fleet["small"].too_large = "long"
        run.drop("at the start.yaml", long)
        run.until(lambda: fleet["small"].shortages, "a shortage")
        run.drop("first.txt", "first")
        run.until(lambda: ["first/first"] == run.videos(), "a video of the small one")
        run.events.put(fleet.lend("large", "card", 80))
        run.until(lambda: len(run.videos()) == 2, "the long one")
        monkeypatch.setattr(benches, "JOIN_SECONDS", 0.0)
        run.events.put(fleet.lose("large"))
        run.drop("meanwhile.yaml", long)
        run.until(lambda: len(run.stages.jobs.opened) == 1, "a claim")
        run.drop("second.txt", "second")
        run.until(lambda: "second/second" in run.videos(), "another video of the small one")
        assert fleet["small"].shortages == 1
        run.events.put(fleet.lend("another", "card", 80))
        run.until(lambda: len(run.videos()) == 4, "the other long one")
        run.events.put(fleet.lose("another"))
        _expect_no_more(monkeypatch)
        run.drop("too long.yaml", long)
        run.until(lambda: list(run.config.failed.rglob("*.error.txt")), "a report")
    assert fleet["small"].shortages == 2


@pytest.mark.parametrize("needs", ["    min_memory_gb: 60\n", ""], ids=["profile", "render"])
@pytest.mark.parametrize("comes", [True, False], ids=["comes", "never comes"])
def test_a_drain_expects_a_larger_card_for_a_short_time(
    comes: bool,
    needs: str,
    fleet: Fleet,
    least_pipeline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or it would not end; the report says so. One that comes meanwhile renders the prompt."""
    for name in ("JOIN_SECONDS", "AWAY_SECONDS"):
        monkeypatch.setattr(benches, name, 1e9)
    if not comes:
        monkeypatch.setattr(benches, "DRAIN_SECONDS", 0.0)
    run = Looped(
        tmp_path,
        least_pipeline,
        fleet.make,
        more="retry_seconds: 0.1\n",
        profile=needs,
        drains=True,
    )
    run.drop("one.txt", "long")
    with run:
        run.events.put(fleet.lend("small", "card", 24))
        fleet["small"].too_large = "long"
        if comes:
            is_seen = (
                (lambda: run.status and run.status.waiting)
                if needs
                else (lambda: fleet["small"].shortages)
            )
            run.until(is_seen, "that it is too large")
            run.events.put(fleet.lend("large", "card", 80))
        run.end()
    assert (["one/long"] if comes else []) == run.videos()
    reports = [path.read_text() for path in run.config.failed.rglob("*.error.txt")]
    assert comes == (not reports)
    for report in reports:
        assert "a drain waits 0 s at most for another card" in report
        assert ("it needs a GPU with 60 GB of memory" in report) == bool(needs)


@pytest.mark.parametrize("is_lost", [False, True], ids=["none joins", "it is lost"])
def test_a_drain_that_has_no_renderer_ends_after_a_while(
    is_lost: bool,
    fleet: Fleet,
    least_pipeline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the head of a cluster does not answer: it says why, and what waits stays there."""
    run = Looped(tmp_path, least_pipeline, fleet.make, drains=True)
    run.drop("one.txt", "one")
    with run:
        if is_lost:
            run.events.put(fleet.lend("a"))
            fleet["a"].hold("one")
            assert fleet["a"].is_held.wait(60)
            run.events.put(fleet.lose("a"))
        run.events.put(FleetTrouble("no head of a cluster answers"))
        run.until(lambda: run.stages.benches.trouble, "the trouble")
        assert run.loop.drained_early is None
        monkeypatch.setattr(benches, "JOIN_SECONDS", 0.0)
        run.end()
    early = run.loop.drained_early
    assert early is not None
    told = "no renderer: no head of a cluster answers; a drain waits 0 s at most for one"
    assert told == early.problem
    assert [] == run.videos()
    assert [] == list(run.config.failed.rglob("*.error.txt"))
    assert ["one.txt"] == [
        path.name
        for folder in (run.config.inbox, run.config.spool / "active")
        for path in folder.rglob("one.txt")
    ]


def test_a_profile_goes_to_cards_that_have_the_memory_it_needs(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Until one is there, its prompts wait, and people can see why."""
    run = Looped(tmp_path, least_pipeline, fleet.make, profile="    min_memory_gb: 60\n")
    with run:
        run.events.put(fleet.lend("small", "A10", 24))
        run.until(lambda: run.status and run.status.state is State.IDLE, "readiness")
        run.drop("one.txt", "first")
        run.until(lambda: run.status and run.status.waiting, "a claim")
        assert run.status is not None
        reason = "it needs a GPU with 60 GB of memory, and A10 has 25.8 GB"
        [model] = run.status.models
        assert ("tiny", reason) == (model.name, model.problem)
        run.until(lambda: run.status and reason in str(run.status.waiting), "the reason")
        assert [""] == [renderer.problem for renderer in run.status.renderers]
        run.events.put(fleet.lend("large", "H100", 80))
        run.until(lambda: ["one/first"] == run.videos(), "a video")
        assert (["first"], []) == (fleet["large"].seen, fleet["small"].seen)
        small, large = run.stages.benches
        assert (set(), {"tiny"}) == (set(small.memory.ready), set(large.memory.ready))


def test_settings_that_no_renderer_can_use_are_refused(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Not before the last has tried. What the fleet before tells late is not of the next one."""
    fleet.at_once = ["a"]
    run = Looped(tmp_path, least_pipeline, fleet.make)
    with run:
        run.until(lambda: run.status and run.status.state is State.IDLE, "readiness")
        run.events.put(FleetTrouble("the cluster does not answer"))
        run.until(lambda: run.status and run.status.missing, "the trouble of the first")
        fleet.at_once = ["b", "c"]
        fleet.failures = [ConfigError(Mistake("it has no such model")) for _ in fleet.at_once]
        fleet.late = [
            RendererJoined("x", Device("cpu")),
            FromRenderer("b", RendererEnded(RendererDied("it is closed"))),
            RendererLeft("c", "it is closed", Cause.MACHINE),
            FleetTrouble("it is closed"),
        ]
        file = tmp_path / "config.yaml"
        file.write_text("engine: ray\n" + file.read_text())
        run.events.put(Reload())
        run.until(lambda: run.status and run.status.refused, "the refusal")
        run.drop("one.txt", "first")
        run.until(lambda: run.videos(), "a video")
        assert run.status is not None
        assert ("", "it has no such model") == (run.status.missing, run.status.refused)
        assert {"b", "c"} == {renderer.id for renderer in run.status.renderers}
        assert not fleet.ended


def test_a_reload_reaches_all_that_has_settings(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Also what judges suspects, and what lists failures. A bad one leaves what is in force, also
    of what changes before a job in hand ends."""
    fleet.at_once = ["a"]
    more = "page: true\nmax_attempts: 3\nignore: []\nmin_free_gib: 0.1\n"
    run = Looped(tmp_path, least_pipeline, fleet.make, more=more)
    file, stages = tmp_path / "config.yaml", run.stages
    aside = run.config.failed / "a.draft.txt"
    aside.parent.mkdir(parents=True)
    aside.write_text("a")
    status = run.config.results / "STATUS.txt"

    def reload(before: str, after: str) -> None:
        file.write_text(file.read_text().replace(before, after))
        run.events.put(Reload())

    with run:
        run.until(lambda: status.is_file() and aside.name in status.read_text(), "the failure")
        reload("max_attempts: 3\nignore: []", "max_attempts: 7\nignore: ['*.draft.txt']")
        run.until(lambda: 7 == stages.jobs.suspects.ends, "the limit")
        run.until(lambda: aside.name not in status.read_text(), "its end")
        fleet["a"].hold()
        run.drop("one.txt", "first")
        run.until(fleet["a"].is_held.is_set, "a render")
        reload("min_free_gib: 0.1", "min_free_gib: 0.2")
        run.until(lambda: 0.2 == stages.disk.min_free_gib, "good settings")
        reload("min_free_gib: 0.2", "min_free_gib: lots")
        run.until(lambda: run.status and run.status.refused, "the refusal")
        assert 0.1 == stages.disk.min_free_gib == stages.settings.config.min_free_gib
        fleet["a"].release()
        reason = "it has no such model"
        fleet.at_once, fleet.failures = ["b"], [ConfigError(Mistake(reason))]
        reload("['*.draft.txt']\nmin_free_gib: lots", "[]\nmin_free_gib: 0.1\nengine: ray")
        run.until(lambda: run.status and reason in run.status.refused, "another refusal")
        failures = run.loop._reporter._page._status_file.failures
        assert not failures._is_prompt_file(aside.name)


def test_one_that_lacks_the_model_is_left_out_and_others_are_waited_for(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Also if it comes first, at the first start. With the next one, what waits begins at once."""
    fleet.at_once = ["a"]
    fleet.failures = [ConfigError(Mistake("this machine has no such folder"))]
    run = Looped(tmp_path, least_pipeline, fleet.make, more="retry_seconds: 3600\n")
    with run:
        run.until(lambda: run.status and run.status.renderers[0].problem, "the reason")
        assert run.status is not None
        assert "tiny can't be used: this machine has no such folder" == (
            run.status.renderers[0].problem
        )
        run.drop("one.txt", "first")
        run.until(lambda: run.status and run.status.waiting, "a prompt that waits")
        assert "no such folder" in run.status.waiting[0].reason
        run.events.put(fleet.lend("b"))
        run.until(run.videos, "a video")
        assert fleet["b"].seen
        fleet["b"].hold()
        run.drop("two.txt", "second")
        run.until(fleet["b"].is_held.is_set, "another render")
        [opened] = run.stages.jobs.opened
        error = BatchFailed(run.stages.benches.get("b").batch, RenderError("a hiccup"))
        run.events.put(FromRenderer("b", error))
        run.until(lambda: opened.tries, "the failure")
        fleet["b"].release()
        run.events.put(fleet.lend("c"))
        run.until(lambda: len(run.videos()) == 2, "both videos")


def trouble_of(run: Looped, id: str) -> str:
    """Return what the status says of a renderer's trouble; empty if that is not there."""
    renderers = run.status.renderers if run.status is not None else ()
    return next((found.problem for found in renderers if found.id == id), "")


def is_over_or_suspected(run: Looped, fleet: Fleet, id: str) -> bool:
    """Return whether a renderer has been lost, or is suspected."""
    return (id not in fleet.dying | fleet.broken) or "failures in a row" in trouble_of(run, id)


@pytest.mark.parametrize("dies", [False, True])
def test_a_place_that_fails_what_others_render_is_left_out_and_no_prompt_fails(
    dies: bool, fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Though each has one attempt. It gets nothing from its third failure on.

    The next batch is handed over before the end of the third: that one may fail, too.
    """
    run = Looped(tmp_path, least_pipeline, fleet.make, more=ONE_ATTEMPT)
    with run:
        run.events.put(fleet.lend("good"))
        run.until(lambda: run.status and run.status.state is State.IDLE, "readiness")
        fleet["good"].hold()
        run.drop("first.txt", "first")
        run.until(fleet["good"].is_held.is_set, "a render")
        (fleet.dying if dies else fleet.broken).add("bad")
        run.events.put(fleet.lend("bad", place="gpu"))
        last, numbers = "bad", itertools.count()
        for number in range(6):
            run.drop(f"{number}.txt", f"p{number}")
        while "3 failures in a row" not in trouble_of(run, last):
            run.until(functools.partial(is_over_or_suspected, run, fleet, last), "the suspicion")
            if last not in fleet.dying and dies and not trouble_of(run, last):
                last = f"bad{next(numbers)}"
                fleet.dying.add(last)
                run.events.put(fleet.lend(last, place="gpu"))
        assert ("it was killed" if dies else "a broken driver") in trouble_of(run, last)
        jobs = list(run.stages.jobs.opened)
        assert any(opened.failed_at(1) for opened in jobs)
        given = tuple(fleet[last].given)
        run.until(lambda: last not in in_hand(run), "the end of what it was given before")
        fleet["good"].release()
        run.until(lambda: last in fleet.paused, "the end of the bad one")
        run.until(lambda: len(run.videos()) == 7, "all videos")
    assert given == tuple(fleet[last].given)
    assert 600 == fleet.paused[last]
    assert f"{last} is left out for 10 minutes" in dict(fleet.ended)[last]
    assert not list(run.config.failed.rglob("*.error.txt"))
    assert not jobs[-1].failed_at(1)  # it was open when the place was left out


def test_a_model_that_ends_each_renderer_is_told_and_tried_seldom(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """The prompts wait; the service is ready, and renders once a renderer has survived it."""
    run = Looped(tmp_path, least_pipeline, fleet.make, more="retry_seconds: 2\n")
    with run:
        for name in "abc":
            fleet.hanging.add(name)
            run.events.put(fleet.lend(name))
            run.until(lambda name=name: run.stages.benches.get(name), "a renderer")
            run.events.put(fleet.lose(name))
        run.until(lambda: run.status and run.status.models, "the trouble")
        assert run.status is not None
        assert "3 renderers in a row ended while they loaded it, the last one: it was killed" in (
            run.status.models[0].trouble
        )
        run.drop("one.txt", "first")
        run.until(lambda: run.status and run.status.waiting, "a prompt that waits")
        run.events.put(fleet.lend("d"))
        run.until(run.videos, "a video")
        run.until(lambda: run.status and not run.status.models[0].trouble, "the end of it")


def test_a_fleet_that_is_broken_ends_the_service(
    fleet: Fleet, least_pipeline: Path, tmp_path: Path
) -> None:
    """Loudly, so that another one is started."""
    run = Looped(tmp_path, least_pipeline, fleet.make)
    run.events.put(FleetBroken(RendererDied("a defect of the thread 'cluster'")))
    with pytest.raises(RendererDied, match="'cluster'"):
        run.work()


def test_after_a_kill_all_that_was_in_hand_anywhere_is_rendered_again_at_once(
    least_pipeline: Path, tmp_path: Path
) -> None:
    """Each alone on its renderer; one after the other only where a second kill has met it, too.

    People see what each renderer does.
    """
    site = make_site(tmp_path / "site", least_pipeline)
    site.configure("max_attempts: 2")
    hold = Hold(site.folder / "hold")
    hold.hold("held")
    site.drop("one.txt", "held one\n")
    site.drop("two.yaml", "prompt: held two\nnum_frames: 8\n")  # not of the same batch

    def rendering() -> set[str]:
        found = status.read(site.spool / status.FILE_NAME)
        renderers = found.renderers if found is not None else ()
        return {renderer.what for renderer in renderers if renderer.steps}

    for kills in (0, 1):
        daemon = Daemon(site, hold.several)
        await_that(
            lambda pid=daemon.process.pid: (
                (found := status.read(site.spool / status.FILE_NAME)) is not None
                and found.pid == pid
                and len(rendering()) == 2
            ),
            f"two renders at once after {kills} kills",
        )
        said = site.command("status").stdout
        assert "a\there: first cpu\trendering " in said
        assert "b\there: second cpu\trendering " in said
        assert rendering() == {"one.txt", "two.yaml"}
        assert -signal.SIGKILL == daemon.stop(signal.SIGKILL)
        assert 2 == len(list(site.spool.glob("active/*/attempts.json")))
    hold.release()
    after = site.drain(hold.several)
    assert 0 == after.returncode, after.stdout
    events = [json.loads(line) for line in after.stdout.splitlines()]
    order = [event["event"] for event in events if event["event"] in ("job_started", "job_ended")]
    assert ["job_started", "job_ended"] * 2 == order
    assert ["one", "two"] == sorted(p.parent.name for p in site.results.glob("*/*.mp4"))
    assert [3, 3] == [event["attempts"] for event in events if event["event"] == "job_ended"]
