"""Prompts of several files are rendered together, and this delays no other file unfairly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.arrivals import claimed
from harness.jobs import READY
from harness.processes import await_that
from harness.site import Daemon, Hold, Site, make_site
from harness.videos import decoded
from reeldrop.base import strict_yaml
from reeldrop.base.job import Batch, Capabilities, Member, Prompt
from reeldrop.base.loras import LoraLimits
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.schedule import schedule
from reeldrop.schedule.decisions import Decision, Open, Render
from reeldrop.schedule.schedule import LOOK_THROUGH
from reeldrop.schedule.view import (
    AHEAD_SECONDS,
    JobView,
    View,
)
from reeldrop.service.forecast import Forecast
from reeldrop.service.workbench import Workbench
from reeldrop.store.spool import Spool

CAPABILITIES = Capabilities({"num_frames": int}, {"num_frames": 8}, 8, 1)
RULES = {"m": ModelRules("m", CAPABILITIES, {}, {}, {"style": LoraLimits()})}
TOGETHER = 4
LIKE, UNLIKE = [f"f{number:02}" for number in range(12)], "f03x"
NOW = 100.0
FIRST = (-99, 0, 0.0, "")


def prompt(**arguments: int) -> Prompt:
    """Return a prompt of a kind, another one each time."""
    return Prompt(1, "p", "m", tuple(({"num_frames": 8} | arguments).items()), 0, 8, ("mp4",))


# A daemon


@dataclass(frozen=True)
class Drained:
    """A site after a run that rendered up to four prompts together."""

    site: Site
    events: list[dict[str, Any]]

    def rendered(self, name: str) -> Any:
        """Return the record of a video's render from its sidecar."""
        (path,) = self.site.results.glob(f"{name}/*.mp4")
        text = path.with_suffix(".yaml").read_text()
        return strict_yaml.plain(strict_yaml.load_all(text)[0])["rendered"]

    def frames(self, name: str) -> np.ndarray:
        """Return the frames of a prompt file's video, as signed integers."""
        (path,) = self.site.results.glob(f"{name}/*.mp4")
        return decoded(path).astype(int)


def drained(folder: Path, pipeline: Path, max_batch_size: int) -> Drained:
    """Render files of one kind and one of another, in batches up to a size, in float32."""
    site = make_site(folder, pipeline)
    config = site.folder / "config.yaml"
    size = f"max_batch_size: {max_batch_size}\n    speed: {{mixed_precision: false}}"
    config.write_text(config.read_text().replace("max_batch_size: 2", size))
    for number, name in enumerate(LIKE):
        site.drop(f"{name}.yaml", f"prompt: number {number}\nseed: {number}\n")
    site.drop(f"{UNLIKE}.yaml", "prompt: x\nseed: 1\nnum_frames: 8\n")
    done = site.drain()
    assert 0 == done.returncode
    return Drained(site, [json.loads(line) for line in done.stdout.splitlines()])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Drained:
    """Rendered in batches of up to four."""
    return drained(tmp_path_factory.mktemp("together") / "site", tiny_pipeline, TOGETHER)


def test_files_are_rendered_together(together: Drained) -> None:
    """As many as the profile allows, without the one of another kind."""
    sizes = [together.rendered(name)["batch_size"] for name in LIKE]
    assert TOGETHER == max(sizes)
    assert 1 == together.rendered(UNLIKE)["batch_size"]


def test_who_is_of_another_kind_waits_for_one_batch_longer_at_most(together: Drained) -> None:
    """That is the batch that began with an earlier file."""
    order = [e["prompt_file"] for e in together.events if e["event"] == "job_started"]
    before = order[: order.index(f"{UNLIKE}.yaml")]
    assert [f"{name}.yaml" for name in LIKE[: len(before)]] == before
    assert LIKE.index("f03") < len(before) <= LIKE.index("f03") + TOGETHER


def test_a_batch_shows_what_each_prompt_alone_shows(
    together: Drained, tmp_path: Path, tiny_pipeline: Path
) -> None:
    """Each prompt has its own seed and text in a batch."""
    alone = drained(tmp_path / "site", tiny_pipeline, 1)
    assert {1} == {alone.rendered(name)["batch_size"] for name in LIKE}
    theirs = [alone.frames(name) for name in LIKE]
    for number, name in enumerate(LIKE):
        differences = [abs(together.frames(name) - other).mean() for other in theirs]
        assert number == int(np.argmin(differences))
        assert differences[number] < 1 < sorted(differences)[1]


def test_who_is_cancelled_is_left_out_and_the_others_come(site: Site) -> None:
    """The batch continues, because the other prompts were not cancelled."""
    site.drop("first.txt", "first\n")
    hold = Hold(site.folder / "hold")
    hold.hold("first")
    daemon = Daemon(site, hold.program)
    try:

        def status() -> dict[str, Any]:
            path = site.spool / "status.json"
            return json.loads(path.read_text()) if path.exists() else {}

        await_that(lambda: status().get("rendering"), "the first file")
        for name in "ab":
            site.drop(f"{name}.txt", f"{name} slow\n")
        turns = ["waits for its turn"] * 2  # else the one that is read first may begin alone
        await_that(lambda: turns == [w["reason"] for w in status()["waiting"]], "both files")
        hold.hold("slow")
        await_that(lambda: (status()["rendering"] or {}).get("together") == 2, "a batch of two")
        assert 0 == site.command("cancel", "a.txt").returncode
        hold.release()
        daemon.wait_for("job_ended", 3)
    finally:
        daemon.process.kill()
        daemon.process.wait()
    assert {"b_slow.mp4", "first.mp4"} == {path.name for path in site.results.rglob("*.mp4")}
    assert "cancelled on request" in (site.failed / "a.txt.error.txt").read_text()


# What is claimed


@dataclass
class Place:
    """An inbox with settled files, by a clock of the test's own."""

    folder: Path
    now: float = 1000.0
    batch: list[JobView] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True)
        spool = Spool(self.folder / "spool", self.inbox, self.folder / "failed")
        spool.prepare()
        box = Inbox(self.inbox, parsing.SUFFIXES, 1.0, parsing.DEFAULTS_NAME)
        self.rules: dict[str, ModelRules | None] = {**RULES}
        self.intake = Intake(
            box,
            spool,
            Reader(self.rules, "m"),
            Intervals(5.0, 1.0),
            lambda: None,
            clock=lambda: self.now,
        )

    def drop(self, *names: str) -> None:
        """Put files into the inbox; a name ends with the numbers of frames and prompts."""
        for name in names:
            num_frames, _, count = name.rpartition("-")[2].partition("x")
            many = "\n".join(f"  - p{n}" for n in range(int(count or 1)))
            (self.inbox / f"{name}.yaml").write_text(
                f"num_frames: {num_frames}\nprompts:\n{many}\n"
            )

    def settle(self) -> None:
        """Advance the clock, and examine what has settled."""
        for _ in range(2):
            self.intake.look(self.now)
            assert [] == list(self.intake.refused(patient=True))
            self.now += 10

    def beside(self, first: Prompt, most: int = 9) -> str:
        """Claim a file to join a prompt's batch, and return its name."""
        if self.batch and self.batch[0].prompts[0] is not first:
            self.hand_over()
        self.batch = self.batch or [JobView("first", FIRST, (first,), 1)]
        decision = self.decide(most)
        if not isinstance(decision, Open):
            return ""
        [job] = self.intake.take_all([decision.what])
        if job is None:
            return ""
        count = decision.what.count
        self.batch.append(JobView(job.id, decision.what.rank, (first,) * count, count))
        return job.source.stem

    def decide(self, more: int) -> Decision:
        """Return the decision if the batch has room for so many more."""
        self.batch[0] = self.batch[0]._replace(size=more + sum(job.count for job in self.batch))
        return schedule.decide(View((READY,), tuple(self.batch), files=self.intake.first()))

    def hand_over(self) -> None:
        """Render the batch."""
        decision = self.decide(0)
        assert isinstance(decision, Render)
        self.intake.line.pass_over(decision.passed_over)
        self.batch = []

    def next(self) -> str:
        """Claim the next file, and return its name."""
        return next((job.source.stem for job in claimed(self.intake)), "")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty inbox."""
    made = Place(tmp_path / "place")
    yield made
    made.intake.close()


def test_the_next_of_its_kind_goes_along(place: Place) -> None:
    """Files of another kind keep their place."""
    place.drop("a-8", "b-9", "c-8")
    place.settle()
    first = prompt()
    assert ["a-8", "c-8", ""] == [place.beside(first) for _ in range(3)]
    assert "b-9" == place.next()


def test_each_lora_and_weight_is_a_kind_of_its_own(place: Place) -> None:
    """Files without LoRAs are another kind, too."""
    for name, asked in (("a", "style"), ("b", "{style: 0.5}"), ("c", "[]"), ("d", "{style: 1}")):
        text = f"prompt: p\nnum_frames: 8\nloras: {asked}\n"
        (place.inbox / f"{name}.yaml").write_text(text)
    place.settle()
    first = replace(prompt(), loras=(("style", 1.0),))
    assert ["a", "d", ""] == [place.beside(first) for _ in range(3)]
    assert ["b", "c"] == [place.next() for _ in range(2)]


def test_a_file_goes_along_as_a_whole_or_not(place: Place) -> None:
    """Otherwise its rest would go before the files that were passed over."""
    place.drop("a-8x3", "b-8x2")
    place.settle()
    assert "b-8x2" == place.beside(prompt(), 2)
    assert "" == place.beside(prompt(), 2)
    assert "a-8x3" == place.next()


def test_a_file_of_two_kinds_goes_along_with_neither(place: Place) -> None:
    """Its other prompts would go before the files that were passed over."""
    place.drop("a-9")
    mixed = "prompt: p\nnum_frames: 8\n---\nprompt: q\nnum_frames: 16\n"
    (place.inbox / "m.yaml").write_text(mixed)
    place.settle()
    assert "" == place.beside(prompt())
    assert ["a-9", "m"] == [place.next() for _ in range(2)]


def test_no_file_is_passed_over_for_two_batches(place: Place) -> None:
    """In one batch, several files may pass it over."""
    place.drop("a-8", "b-9", "c-8", "d-8", "e-8")
    place.settle()
    first, second = prompt(), prompt()
    assert first == second, "what tells batches apart is not what is asked for"
    assert ["a-8", "c-8"] == [place.beside(first), place.beside(first)]
    assert "" == place.beside(second)
    assert "b-9" == place.next()
    assert ["d-8", "e-8"] == [place.beside(second), place.beside(second)]


def test_what_asks_for_a_model_goes_along_once_that_is_known(place: Place) -> None:
    """A file that was examined before its model was loaded is examined again."""
    place.rules["m"] = None
    place.drop("a-8", "b-8")
    place.settle()
    assert "" == place.beside(prompt())
    place.rules |= RULES
    place.intake.examine_again()
    place.settle()
    assert ["a-8", "b-8"] == [place.beside(prompt()) for _ in range(2)]


def test_a_look_that_finds_nothing_passes_nobody_over(place: Place) -> None:
    """No file is marked as passed over."""
    place.drop("a-9", "b-8x5")
    place.settle()
    assert "" == place.beside(prompt(), 2)
    place.drop("c-8")
    place.settle()
    assert "c-8" == place.beside(prompt(), 2)


def test_not_the_whole_inbox_is_looked_through(place: Place) -> None:
    """Only the first files of the queue are considered, however many wait."""
    place.drop(*(f"{number:03}-9" for number in range(LOOK_THROUGH)), "z-8")
    place.settle()
    assert "" == place.beside(prompt())
    assert "000-9" == place.next()
    assert "z-8" == place.beside(prompt())


# The workbench


class Orders:
    """The orders to a renderer."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def load(self, model: str) -> None:
        self.told.append(model)

    def release(self, model: str, *, keeps: bool) -> None:
        self.told.append((model, keeps))

    def render(self, batch: Batch) -> None:
        self.told.append(batch)

    def cancel(self, batch: Batch) -> None:
        self.told.append(batch)

    def close(self) -> None:
        self.told.append("close")


def takes_another(bench: Workbench, now: float) -> bool:
    """Return whether a batch is handed over."""
    return bench.view(now).is_free


def test_the_next_batch_is_handed_over_before_the_end_of_this_one() -> None:
    """So that the device does not wait; but not long before, as files can still be edited."""
    bench = Workbench(orders := Orders(), 600, Forecast())
    one, other = (Batch((Member("j", prompt(num_inference_steps=10)),)) for _ in range(2))
    assert takes_another(bench, NOW)
    bench.render(one, NOW)
    step = AHEAD_SECONDS / 2
    answers = []
    for done in range(1, 11):
        bench.step_done(done, NOW)
        answers.append(takes_another(bench, NOW + done * step))
    assert [False] * 7 + [True] * 3 == answers
    bench.render(other, NOW)
    assert [one, other] == orders.told
    assert not takes_another(bench, NOW + 100)
    assert (one, other) == bench.batches
    bench.batch_done(NOW + 100)
    assert (other,) == bench.batches
    assert 0 == bench.step
    assert not takes_another(bench, NOW + 100), "nothing is known of it before its first step"
    bench.batch_done(NOW + 100)
    assert not bench.is_busy


def test_models_that_leave_one_by_one_do_not_begin_the_time_without_work_anew() -> None:
    """All of them leave at its end."""
    bench = Workbench(Orders(), 600, Forecast())
    assert 0 == bench.view(NOW).idle_seconds(NOW)
    bench.release("m", keeps=False)
    assert bench.view(NOW + 60).is_busy
    bench.clear()
    assert 61 == bench.view(NOW + 61).idle_seconds(NOW + 61)
    bench.load("m")
    assert 0 == bench.view(NOW + 62).idle_seconds(NOW + 62)


def test_nothing_is_handed_over_while_a_model_is_loaded() -> None:
    """The load may fail."""
    bench = Workbench(Orders(), 600, Forecast())
    bench.load("m")
    assert not takes_another(bench, NOW)
    bench.clear()
    bench.try_out(Batch((Member("", prompt()),)), NOW)
    assert not takes_another(bench, NOW)
