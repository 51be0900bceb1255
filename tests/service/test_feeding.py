"""Decisions are carried out, with real files, jobs and results; only the renderer is a stand-in."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, TextIO

import pytest
from harness.processes import await_that
from huggingface_hub import constants
from reeldrop.base import fleet as base_fleet
from reeldrop.base.errors import (
    ConfigError,
    DefaultsRefused,
    Mistake,
    Unavailable,
    Unrenderable,
)
from reeldrop.base.events import RendererJoined
from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Batch, Capabilities, Job, Prompt, Rendered
from reeldrop.base.residents import Memory, Resident
from reeldrop.intake import line
from reeldrop.intake import parses as intake_parses
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.intake.settling import UNFINISHED_SECONDS
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.schedule import schedule
from reeldrop.schedule.view import (
    Conditions,
    RendererView,
)
from reeldrop.service.benches import Benches
from reeldrop.service.feeding import Feeder
from reeldrop.service.forecast import Forecast
from reeldrop.service.jobs import Jobs
from reeldrop.service.limits import Limits
from reeldrop.service.models import Models
from reeldrop.service.translations import Translations
from reeldrop.service.workbench import Workbench
from reeldrop.store import job_files
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.translation.orders import Reads
from reeldrop.translation.source import TranslatorSource
from reeldrop.translation.translator import Translator

CAPABILITIES = Capabilities({"num_frames": int}, {"num_frames": 8}, 8, 1)
RULES = {name: ModelRules(name, CAPABILITIES, {}, {}) for name in ("m", "n", "o")}
RENDERED = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 100)
SIZE = 4


class Orders:
    """A renderer that ignores its orders."""

    def load(self, model: str) -> None: ...

    def use(self, sources: object) -> None: ...

    def release(self, model: str, *, keeps: bool) -> None: ...

    def render(self, batch: Batch) -> None: ...

    def cancel(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


class Fleet:
    """One renderer that ignores its orders."""

    can_lose = False

    def begin(self) -> list[RendererJoined]:
        return []

    def renderer(self, _id: str) -> Orders:
        return Orders()

    def end(self, _id: str, reason: str, _pause: float = 0.0) -> None: ...

    def close(self) -> None: ...


class Device:
    """A device with room for some models of 2 bytes; `released` are those that had to leave."""

    def __init__(self, models: str, room: int) -> None:
        self.models = [*models]
        self.released: list[str] = []
        self._room = room

    @property
    def memory(self) -> Memory:
        residents = tuple(Resident(model, device_bytes=2) for model in self.models)
        return Memory(residents, 2 * (self._room - len(self.models)) + 1, 0)

    def use(self, model: str) -> None:
        """Load a model, or mark it as the last used."""
        self.models = [*(other for other in self.models if other != model), model]
        assert len(self.models) <= self._room

    def release(self, model: str) -> None:
        self.models.remove(model)
        self.released.append(model)


class World:
    """A process on an inbox, by a clock of the test's own, in which files settle at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = time.monotonic() - 1000
        (folder / "inbox").mkdir(exist_ok=True)
        self.spool = Spool(folder / "spool", folder / "inbox", folder / "results/_failed")
        self.spool.prepare()
        self.spool.note_ending("Segmentation fault")
        self.results = Results(folder / "results")
        limits = Limits(dict.fromkeys(RULES, BatchLimit(SIZE)), 2, 0.0)
        self.jobs = Jobs(self.spool, self.results, limits)
        self.rules: dict[str, ModelRules | None] = {**RULES}
        box = Inbox(folder / "inbox", parsing.SUFFIXES, 0.0, parsing.DEFAULTS_NAME)
        self.intake = Intake(
            box,
            self.spool,
            Reader(self.rules, "m"),
            Intervals(1.0, 1.0),
            lambda: None,
            clock=lambda: self.now,
            order=self.jobs.turns,
        )
        benches = Benches(Forecast())
        self.bench = benches.join(RendererJoined("own", base_fleet.Device("")), Fleet(), 600)
        self.models = Models("m", 1.0, is_patient=True)
        self.feeder = Feeder(
            self.spool, self.jobs, self.intake, benches, self.models, size=lambda _: 2
        )
        self.device = Device("m", room=9)
        self.conditions = Conditions()

    def drop(
        self,
        name: str,
        count: int,
        priority: int = 0,
        num_frames: int = 8,
        *,
        owner: int = -1,
        model: str = "m",
    ) -> None:
        """Put a file with so many prompts into the inbox, and examine it."""
        path = self.folder / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = "".join(f"  - p{n}\n" for n in range(1, count + 1))
        settings = f"num_frames: {num_frames}\npriority: {priority}\nmodel: {model}\n"
        path.write_text(f"{settings}prompts:\n{texts}")
        os.chown(path, owner, -1)
        self.look()

    def look(self) -> None:
        """Advance the clock by a second, and scan the inbox."""
        self.now += 1
        self.intake.look(self.now)
        assert [] == list(self.intake.refused(patient=True))

    def begin(self) -> list[tuple[str, list[int]]]:
        """Begin the next batch, and return the prompt files of its prompts."""
        self.bench.memory = self.device.memory
        while self.bench.batch is None and self.feeder.feed(self.now, self.conditions):
            self._obey()
            self.bench.memory = self.device.memory
        members = self.bench.batch.members if self.bench.batch else ()
        return [
            (str(self.jobs.opened[job_id].job.source), [member.prompt.number for member in group])
            for job_id, group in groupby(members, key=lambda member: member.job_id)
        ]

    def _obey(self) -> None:
        """Carry out the decisions about models."""
        if self.bench.releasing:
            self.device.release(self.bench.releasing)
            self.bench.clear()
        if self.bench.loading:
            self.device.use(self.bench.loading)
            self.bench.clear()
            assert self.bench.loads_for is not None
            self.jobs.loads.end(self.bench.loads_for, self.device.models[-1])
        if self.bench.batch is not None:
            assert self.bench.batch.model in self.device.models
            self.device.use(self.bench.batch.model)

    def end(self) -> None:
        """Publish all videos of the batch."""
        assert self.bench.batch is not None
        for member in self.bench.batch.members:
            self.jobs.batches.published(
                self.results.publish(
                    self.jobs.opened[member.job_id].job,
                    member.prompt,
                    RENDERED,
                    lambda path, _format, _settings: path.write_bytes(b"x") and None,
                )
            )
        self.bench.batch_done(self.now)

    def render(self) -> list[tuple[str, list[int]]]:
        """Render the next batch, and return its prompt files."""
        found = self.begin()
        if found:
            self.end()
        return found

    def render_all(self) -> list[list[tuple[str, list[int]]]]:
        """Render everything, batch by batch."""
        return list(iter(self.render, []))

    def close(self) -> None:
        self.intake.close()
        self.jobs.opened.put_down()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Start a process; a later one uses the same folders."""
    worlds: list[World] = []

    def started() -> World:
        worlds.append(World(tmp_path))
        return worlds[-1]

    yield started
    for world in worlds:
        world.close()


@pytest.fixture
def world(start: Callable[[], World]) -> World:
    """A process."""
    return start()


def test_one_folder_does_not_hold_up_another(world: World) -> None:
    """One batch of a large file is rendered before a file of another folder."""
    world.drop("a/many.yaml", 100)
    assert [("a/many.yaml", [1, 2, 3, 4])] == world.begin()
    world.drop("a/later.yaml", 1, num_frames=16)
    world.drop("b/one.yaml", 1, num_frames=16)
    world.end()
    assert [("b/one.yaml", [1]), ("a/later.yaml", [1])] == world.render()
    assert [("a/many.yaml", [5, 6, 7, 8])] == world.render()


def test_groups_take_turns_in_the_spool_through_all_steps_after_one_look(world: World) -> None:
    """Two renderers get a batch each: the second one's job, of the other group, is opened next."""
    second = world.feeder.benches.join(
        RendererJoined("second", base_fleet.Device("")), Fleet(), 600
    )
    world.bench.memory = second.memory = world.device.memory
    for size, name in enumerate(("a/1.yaml", "a/2.yaml", "b/1.yaml"), 1):
        world.drop(name, SIZE, num_frames=8 * size)
    assert None not in world.intake.take_all(world.intake.first())
    seen = world.feeder.look(world.now)
    while world.feeder.feed(world.now, world.conditions, seen):
        pass
    assert ["a/1.yaml", "b/1.yaml"] == [str(opened.job.source) for opened in world.jobs.opened]
    assert all(bench.batch is not None for bench in (world.bench, second))


def test_a_job_is_looked_at_again_only_when_it_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each batch of one of hundreds of renderers would cost a look at all jobs that wait."""
    others = [
        world.feeder.benches.join(RendererJoined(f"{n}", base_fleet.Device("")), Fleet(), 600)
        for n in range(29)
    ]
    for bench in (world.bench, *others):
        bench.memory = world.device.memory
    for number in range(6):
        world.drop(f"{number}/a.yaml", 5 * SIZE, num_frames=8 * (number + 1))
    assert None not in world.intake.take_all(world.intake.first())
    looks: list[object] = []
    together = world.jobs.opened.together

    def noted(prompt: Prompt, kind: str) -> int:
        looks.append(prompt)
        return together(prompt, kind)

    monkeypatch.setattr(world.jobs.opened, "together", noted)
    seen = world.feeder.look(world.now)
    while world.feeder.feed(world.now, world.conditions, seen):
        pass
    assert 6 == len(world.jobs.opened)
    assert all(bench.batch is not None for bench in (world.bench, *others))
    assert len(looks) < 100, "each was looked at for each of 30 batches"


def test_a_renderer_is_looked_at_again_only_when_it_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each event of one of hundreds of renderers would cost a look at all of them."""
    benches = [
        world.bench,
        *(
            world.feeder.benches.join(RendererJoined(f"{n}", base_fleet.Device("")), Fleet(), 600)
            for n in range(99)
        ),
    ]
    for bench in benches:
        bench.memory = world.device.memory
    world.drop("a.yaml", 50)
    looks: list[str] = []
    view = Workbench.view

    def noted(bench: Workbench, *given: Any) -> RendererView:
        looks.append(bench.id)
        return view(bench, *given)

    monkeypatch.setattr(Workbench, "view", noted)
    while world.feeder.feed(world.now, world.conditions):
        world.now += 0.1
    assert 50 == sum(bench.batch is not None for bench in benches)
    assert 50 == sum(bench.is_busy for bench in benches)
    assert len(looks) < 300, "all were looked at for each of 50 batches"
    looks.clear()
    for bench in benches[:50]:
        world.now += 1
        bench.batch_done(world.now)
        world.feeder.feed(world.now, world.conditions)
    assert len(looks) <= 2 * 50, "idle ones were looked at again and again"


@pytest.mark.usefixtures("root")
def test_users_take_turns_directly_in_the_inbox(world: World) -> None:
    """A large file does not delay a file of another user or folder."""
    world.drop("many.yaml", 100)
    assert [("many.yaml", [1, 2, 3, 4])] == world.begin()
    world.drop("same.yaml", 1, num_frames=16)
    world.drop("other.yaml", 5, num_frames=16, owner=65534)
    world.end()
    assert [("other.yaml", [1, 2, 3, 4])] == world.render()
    assert [("many.yaml", [5, 6, 7, 8])] == world.render()
    assert [("other.yaml", [5]), ("same.yaml", [1])] == world.render()
    assert [("many.yaml", [9, 10, 11, 12])] == world.render()


def test_files_of_the_night_wait_and_hide_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By day, any number of them leaves room for the least urgent file; in the morning, they stop.

    Settings that change by day need not wait for the night.
    """
    monkeypatch.setattr(line, "LOOK_THROUGH", 2)
    for number in range(3):
        world.drop(f"NIGHT/{number}.yaml", 1, 10)
    world.drop("a.yaml", 1, -10)
    assert [[("a.yaml", [1])]] == world.render_all()
    world.drop("NIGHT/long.yaml", 9, 10, num_frames=16)
    world.conditions = Conditions(is_night=True)
    while "NIGHT/long.yaml" not in [name for name, _ in world.render()]:
        pass
    world.conditions = Conditions()
    assert [] == world.render_all()
    assert (0, False) == (len(world.jobs.opened), world.jobs.are_begun)
    assert ["begun; until later"] == [w.reason for w in world.jobs.waiting(night="until later")]
    world.conditions = Conditions(is_night=True)
    assert [("NIGHT/long.yaml", [5, 6, 7, 8])] == world.render()
    world.conditions = Conditions()
    assert [] == world.render_all()
    [job] = world.spool.unfinished()
    job_files.ask_to_cancel(job)
    assert ([], []) == (world.render_all(), world.spool.ids())


@pytest.mark.parametrize("are_new", [False, True])
def test_what_failed_at_night_is_known_in_the_next_one(world: World, are_new: bool) -> None:
    """By day its file is not open, or new settings would wait for the night; those forget it."""
    world.drop("NIGHT/bad.yaml", 6)
    world.conditions = Conditions(is_night=True)
    assert [("NIGHT/bad.yaml", [1, 2, 3, 4])] == world.begin()
    assert world.bench.batch is not None
    for member in world.bench.batch.members:
        world.jobs.batches.failed(member.job_id, member.prompt, Unrenderable("too large"))
    world.bench.batch_done(world.now)
    world.conditions = Conditions()
    assert [] == world.render_all()
    assert (0, False) == (len(world.jobs.opened), world.jobs.are_begun)
    if are_new:
        world.jobs.use(world.jobs.limits)
    world.conditions = Conditions(is_night=True)
    again = [[("NIGHT/bad.yaml", [1, 2, 3, 4])]] if are_new else []
    assert [*again, [("NIGHT/bad.yaml", [5, 6])]] == world.render_all()
    assert (0 if are_new else 1) == world.jobs.outcome.failed_jobs


def copy(world: World, name: str, to: str) -> None:
    """Copy a file of the inbox to another place, as `cp -p` does, and claim the first."""
    target = world.folder / "inbox" / to
    target.parent.mkdir(exist_ok=True)
    kept = world.folder / "kept"
    shutil.copy2(world.folder / "inbox" / name, kept)
    assert [(name, [1, 2, 3, 4])] == world.begin()
    shutil.copy2(kept, target)


def test_a_copy_in_now_lets_the_file_in_hand_go_first(start: Callable[[], World]) -> None:
    """It is no second order: each prompt is rendered once, also after a kill."""
    world = start()
    world.drop("many.yaml", 9)
    copy(world, "many.yaml", "NOW/many.yaml")
    world.drop("first.yaml", 1, 5, num_frames=16)
    world.end()
    assert [("many.yaml", [5, 6, 7, 8])] == world.begin()
    world.close()
    later = start()
    later.drop("second.yaml", 1, 5, num_frames=16)
    many = [[("many.yaml", [5, 6, 7, 8])], [("many.yaml", [9])]]
    assert [*many, [("first.yaml", [1]), ("second.yaml", [1])]] == later.render_all()
    assert 11 == len(list(world.folder.rglob("*.mp4")))
    assert [] == list(world.folder.rglob("NOW/*"))


def test_a_copy_in_now_ends_the_wait_for_the_night(world: World) -> None:
    """A file that was begun at night, and copied to `NOW/`, goes on by day."""
    world.drop("NIGHT/many.yaml", 9)
    world.conditions = Conditions(is_night=True)
    copy(world, "NIGHT/many.yaml", "NOW/many.yaml")
    world.end()
    world.conditions = Conditions()
    world.look()
    assert [("NOW/many.yaml", [5, 6, 7, 8])] == world.render()
    assert [[("NOW/many.yaml", [9])]] == world.render_all()
    assert 9 == len(list(world.folder.rglob("*.mp4")))


def test_sheets_of_the_night_are_made_by_day(world: World) -> None:
    """Their job is through, but for that: it does not go back into the spool in the morning."""
    asked: list[str] = []
    world.jobs.opened.make_sheets = lambda job, _prompts: asked.append(job.id)
    path = world.folder / "inbox/NIGHT/sweep.yaml"
    path.parent.mkdir()
    path.write_text("prompt: a\nmatrix: {seed: [1, 2]}\n")
    world.look()
    world.conditions = Conditions(is_night=True)
    assert [("NIGHT/sweep.yaml", [1, 2])] == world.render()
    world.conditions = Conditions()
    assert [] == world.render_all()
    world.jobs.opened.sheets_made(*asked)
    assert ([], True) == (world.spool.ids(), (world.folder / "results/sweep/sweep.yaml").exists())


def test_a_pause_is_kept_and_cancels_go_on_meanwhile(world: World) -> None:
    """What is in hand ends, nothing begins; waiting, begun and open jobs can all be cancelled."""
    for name in ("a", "b", "c"):
        world.drop(f"{name}.yaml", 5, num_frames=16 if name == "c" else 8)
    assert [("a.yaml", [1, 2, 3, 4])] == world.begin()
    world.conditions = Conditions(is_held=True)
    world.end()
    assert [] == world.render_all()
    for name in ("a", "b"):
        world.folder.joinpath(f"inbox/{name}.yaml.cancel").touch()
    world.look()
    for job in world.intake.cancelled():
        world.feeder.cancel(job, world.now)
    world.feeder.heed_cancellations(world.now)
    aside = sorted(path.name for path in world.folder.glob("results/_failed/*.yaml"))
    assert (["a.yaml", "b.yaml"], []) == (aside, list(world.spool.ids()))
    world.conditions = Conditions()
    assert [("c.yaml", [1, 2, 3, 4])] == world.render()


@pytest.fixture
def open_file(world: World) -> Iterator[tuple[World, TextIO]]:
    """A prompt file of one line that is claimed while its writer still has it open."""
    path = world.folder / "inbox" / "x" / "poems.txt"
    path.parent.mkdir()
    with path.open("w") as writer:
        writer.write("a horse\n")
        writer.flush()
        world.look()
        assert [] == world.begin()
        world.now += UNFINISHED_SECONDS
        world.look()
        assert [("x/poems.txt", [1])] == world.begin()
        yield world, writer


def test_lines_that_came_late_are_said_and_kept(open_file: tuple[World, TextIO]) -> None:
    """The file waits for its writer, as the status says; then a note has the late lines."""
    world, writer = open_file
    writer.write("a cow\na pig\n")
    writer.flush()
    world.end()
    world.now = time.monotonic() + 5
    assert [] == world.render()
    name = Path("/proc/self/comm").read_text().strip()
    [waits] = world.jobs.waiting()
    assert f"still being written by {name}" in waits.reason
    place = world.folder / "results" / "x" / "poems"
    assert not (place / "poems.txt").exists()
    writer.write("a hen\n")
    writer.close()
    assert [] == world.render()
    assert "a horse\na cow\na pig\na hen\n" == (place / "poems.txt").read_text()
    note = (place / "poems.txt.not-rendered.txt").read_text()
    assert "line 2 to line 4 (18 bytes)" in note
    assert ["    a cow", "    a pig", "    a hen"] == note.splitlines()[5:8]
    assert ([], 1) == (world.jobs.waiting(), world.jobs.outcome.videos)


def test_late_lines_are_rendered_after_a_restart(
    open_file: tuple[World, TextIO], start: Callable[[], World]
) -> None:
    """A new process reads the whole file, and renders prompts without a video."""
    world, writer = open_file
    writer.write("a cow\n")
    world.end()
    writer.close()
    world.close()
    again = start()
    assert [("x/poems.txt", [2])] == again.render()
    names = sorted(path.name for path in (world.folder / "results" / "x" / "poems").iterdir())
    assert ["a_cow.mp4", "a_horse.mp4"] == [name for name in names if name.endswith(".mp4")]
    assert not any("not-rendered" in name for name in names)


def test_a_priority_is_heeded_in_the_middle_of_a_file(world: World) -> None:
    """A higher priority goes first; the rest of the file continues afterwards."""
    world.drop("low.yaml", 9, -10)
    world.render()
    world.drop("high.yaml", 5, 10, num_frames=16)
    found = world.render_all()
    assert [
        [("high.yaml", [1, 2, 3, 4])],
        [("high.yaml", [5])],
        [("low.yaml", [5, 6, 7, 8])],
        [("low.yaml", [9])],
    ] == found
    assert 14 == world.jobs.outcome.videos


def test_what_waits_for_its_turn_is_told(world: World) -> None:
    """The status gives the reason why a begun file waits."""
    world.drop("low.yaml", 9, -10)
    world.render()
    world.drop("high.yaml", 1, 10, num_frames=16)
    world.begin()
    expected = [("low.yaml", "begun; waits for its turn")]
    assert expected == [(w.prompt_file, w.reason) for w in world.jobs.waiting()]


def test_new_files_are_read_in_turns(world: World) -> None:
    """A folder of thousands does not delay the examination of others."""
    for name in ("a/0.txt", "a/1.txt", "a/2.txt", "b/0.txt", "0.txt"):
        path = world.folder / "inbox" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a horse\n")
    world.intake.look(world.now)
    waiting, _ = world.intake.waiting(world.now)
    expected = ["0.txt", "a/0.txt", "b/0.txt", "a/1.txt", "a/2.txt"]
    assert expected == [w.prompt_file for w in waiting]


def test_who_is_in_the_middle_of_a_file_fills_what_is_left_of_a_batch(world: World) -> None:
    """A batch is as full as possible, whoever leads it."""
    world.drop("low.yaml", 9, -10)
    world.render()
    world.drop("high.yaml", 1, 10)
    assert [("high.yaml", [1]), ("low.yaml", [5, 6, 7])] == world.render()


def test_a_priority_is_known_after_a_restart(start: Callable[[], World]) -> None:
    """A begun file keeps its place in the order."""
    world = start()
    world.drop("low.yaml", 9, -10)
    world.drop("z/low.yaml", 9, -10, num_frames=16)
    world.render()
    world.close()
    again = start()
    again.drop("high.yaml", 1, 10, num_frames=32)
    assert [("high.yaml", [1])] == again.render()
    assert [("z/low.yaml", [1, 2, 3, 4])] == again.render(), "it is the turn of that folder"
    assert [("low.yaml", [5, 6, 7, 8])] == again.render()


def test_a_job_without_a_recorded_priority_has_none(start: Callable[[], World]) -> None:
    """An older version did not record it: it is 0."""
    world = start()
    world.drop("a.yaml", 5, 10)
    world.render()
    world.close()
    (record,) = world.spool.active.glob("*/job.json")
    record.write_text(record.read_text().replace('"priority": 10, ', ""))
    again = start()
    again.drop("b.yaml", 1, 1, num_frames=16)
    assert [("b.yaml", [1])] == again.render()
    assert [("a.yaml", [5])] == again.render()


def test_who_waits_for_a_turn_is_not_to_blame(start: Callable[[], World]) -> None:
    """An open job without prompts in hand is not blamed for a process's end."""
    world = start()
    world.drop("low.yaml", 9, -10)
    world.render()
    world.drop("high.yaml", 1, 10, num_frames=16)
    assert [("high.yaml", [1])] == world.begin()
    again = start()  # the process ends
    suspects = [view.is_suspect for view in again.jobs.spooled.views(again.now)]
    assert [False, True] == suspects


def open_logs() -> list[str]:
    """Return the job logs that this process has open."""
    paths = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    targets = [os.readlink(path) for path in paths if path.is_symlink()]
    return [target for target in targets if target.endswith("job.log")]


def test_many_who_wait_for_their_turn_hold_few_files_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last jobs return to the spool until their turn; each video is rendered once, in order."""
    monkeypatch.setattr(schedule, "MAX_OPEN_JOBS", 3)
    folders = [f"{number:02}" for number in range(8)]
    for number, folder in enumerate(folders):
        world.drop(f"{folder}/x.yaml", 6, num_frames=8 * (number + 1))
    leaders = []
    while found := world.render():
        assert 3 >= len(open_logs()) == len(world.jobs.opened)
        leaders += found
    expected = [(f"{f}/x.yaml", n) for n in ([1, 2, 3, 4], [5, 6]) for f in folders]
    assert expected == leaders
    assert (48, 0) == (world.jobs.outcome.videos, world.jobs.outcome.failed_jobs)
    assert [] == list(world.spool.active.iterdir())


def test_what_went_back_is_ended_before_settings_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A begun job ends under its settings; nothing new is begun until then."""
    monkeypatch.setattr(schedule, "MAX_OPEN_JOBS", 1)
    for number, folder in enumerate("abc"):
        world.drop(f"{folder}/x.yaml", 6, num_frames=8 * (number + 1))
    for folder in "ab":
        assert [(f"{folder}/x.yaml", [1, 2, 3, 4])] == world.render()
    world.conditions = Conditions(settings_change=True)
    assert [[("a/x.yaml", [5, 6])], [("b/x.yaml", [5, 6])]] == world.render_all()
    assert not world.jobs.are_begun
    assert (world.folder / "inbox/c/x.yaml").exists()


def test_who_makes_trouble_himself_goes_behind_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that can't be begun is tried again after the others."""
    begin_attempt = world.spool.attempts.begin

    def refusing(job: object, numbers: object, **how: object) -> None:
        if "bad" in str(job):
            raise OSError(errno.EACCES, "Permission denied")
        begin_attempt(job, numbers, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(world.spool.attempts, "begin", refusing)
    for number, name in enumerate(("bad", "good", "other")):
        world.drop(f"{name}.yaml", 1, num_frames=8 * (number + 1))
    assert [("good.yaml", [1])] == world.render()
    monkeypatch.undo()
    world.now = time.monotonic()
    world.drop("later.yaml", 1, num_frames=32)
    names = [path for batch in world.render_all() for path, _ in batch]
    assert ["other.yaml", "bad.yaml", "later.yaml"] == names


def test_a_group_whose_job_makes_trouble_lets_the_others_have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be first each time, and be tried for ever."""
    tries = []

    def refusing(job: Job, numbers: Iterable[int], **how: bool) -> None:
        if job.source.name == "bad.yaml":
            tries.append(job)
            assert len(tries) < 9, "nobody else is rendered"
            raise OSError(errno.EACCES, "Permission denied")
        begin_attempt(job, numbers, **how)

    begin_attempt = world.spool.attempts.begin
    monkeypatch.setattr(world.spool.attempts, "begin", refusing)
    world.now = time.monotonic() + 1000
    world.drop("a/bad.yaml", 1)
    world.drop("b/good.yaml", 1, num_frames=16)
    assert [("b/good.yaml", [1])] == world.render()


@pytest.mark.parametrize("defaults", ["# " + "x" * 70_000, None])
def test_a_file_refused_for_its_defaults_is_never_rendered_without_them(
    defaults: str | None, world: World
) -> None:
    """After a kill it is refused for the recorded reason, even if the defaults have changed."""
    above = world.folder / "inbox/_defaults.yaml"
    above.write_text(defaults) if defaults else above.mkdir()
    (world.folder / "inbox/a.txt").write_text("a horse\n")
    world.now += 1
    world.intake.look(world.now)
    ((job, error),) = world.intake.refused(patient=True)
    above.unlink() if defaults else above.rmdir()
    (found,) = World(world.folder).spool.unfinished()
    assert job == found
    with pytest.raises(DefaultsRefused) as refused:
        world.intake.reader.read_job(found)
    assert error.mistakes == refused.value.mistakes
    assert ["_defaults.yaml"] == [mistake.file for mistake in error.mistakes]


FORMS = {
    "lines.txt": "a fox\na horse\n",
    "seeds.yaml": "prompts: [a fox, {prompt: a horse, seed: [3, 4]}]\n",
    "count.yaml": "prompt: a fox\nnum_videos_per_prompt: 3\n",
    "matrix.yaml": "prompt: a fox\nmatrix: {num_frames: [8, 16]}\n",
    "all.yaml": "prompt: a {red|green} fox\nwildcards: all\n",
    "AGAIN/a.yaml": "prompt: a fox\nseed: 3\n",
    "drawn.yaml": "prompt: a {red|green|blue|black} fox\nwildcards: 2\n",
    "drawn_by_seed.yaml": "prompt: a {red|green|blue|black} fox\nwildcards: 2\nseed: 3\n",
}
DRAWN = "drawn.yaml"


def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of files to which each that is parsed is added."""
    parsed: list[str] = []
    parse = parsing.parse

    def noted(name: str, *given: Any, **named: Any) -> parsing.PromptFile:
        parsed.append(name)
        return parse(name, *given, **named)

    monkeypatch.setattr(parsing, "parse", noted)
    return parsed


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_has_not_changed_is_parsed_once(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompts are those of a parse after the claim, with the seeds of its job."""
    parsed = parses(monkeypatch)
    path = world.folder / "inbox" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FORMS[name])
    world.look()
    [job] = world.intake.take_all(world.intake.first())
    assert job is not None
    found = world.intake.reader.read_job(job)
    assert (2 if name == DRAWN else 1) == len(parsed)
    anew = Reader(world.rules, "m").read_job(job)
    assert (anew, [p.swept for p in anew.prompts]) == (found, [p.swept for p in found.prompts])


def test_a_file_whose_bytes_or_rules_have_changed_is_parsed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its times and size are the same: what counts is read after the claim."""
    parsed = parses(monkeypatch)
    (world.folder / "inbox/a.txt").write_text("a fox\n")
    (world.folder / "inbox/b.txt").write_text("a fox\n")
    world.look()
    jobs = world.intake.take_all(world.intake.first())
    for job in filter(None, jobs):
        status = job.prompt_file.stat()
        if job.source.name == "a.txt":
            job.prompt_file.write_text("a cat\n")
        os.utime(job.prompt_file, ns=(status.st_atime_ns, status.st_mtime_ns))
        if job.source.name == "b.txt":
            world.rules["n"] = ModelRules("n", CAPABILITIES, {"num_frames": 16}, {})
        [prompt] = world.intake.reader.read_job(job).prompts
        assert ("a cat" if job.source.name == "a.txt" else "a fox") == prompt.prompt
    assert 4 == len(parsed)


def test_what_is_kept_of_files_that_wait_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were read last are kept, and only until they are claimed."""
    monkeypatch.setattr(intake_parses, "MOST_BYTES", 4 << 10)
    parsed = parses(monkeypatch)
    for number in range(6):
        world.drop(f"{number}.yaml", 1)
    jobs = world.intake.take_all(world.intake.first())
    for _ in range(2):
        for job in jobs:
            assert job is not None
            world.intake.reader.read_job(job)
    assert {"0.yaml": 3, "5.yaml": 2} == {n: parsed.count(n) for n in ("0.yaml", "5.yaml")}


@pytest.mark.parametrize(
    ("asks", "count"),
    [
        ("wildcards: all\nprompt: '{a|b}{c|d}{e|f}{g|h} %s'\n", 2),
        ("num_videos_per_prompt: 16\nprompt: |\n  %s\n", 2),
        ("num_videos_per_prompt: 16\nprompt: '%s'\n", 1),
    ],
)
def test_what_is_kept_counts_texts_that_a_file_multiplies(
    asks: str, count: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file may ask for a thousand long texts; one that its videos share counts once."""
    monkeypatch.setattr(intake_parses, "MOST_BYTES", 128 << 10)
    parsed = parses(monkeypatch)
    (world.folder / "inbox/a.yaml").write_text(asks % (9_000 * "x"))
    world.look()
    [job] = world.intake.take_all(world.intake.first())
    assert job is not None
    assert 16 == len(world.intake.reader.read_job(job).prompts)
    assert count == len(parsed)


def test_models_are_seldom_exchanged_and_nobody_waits_for_long(world: World) -> None:
    """Later prompts of a loaded model go first for a minute at most.

    There is memory for one model, a batch takes 15 s, and files come faster than they are rendered.
    """
    world.conditions = Conditions(model_wait_seconds=60.0)
    world.device = Device("m", room=1)
    world.jobs.use(Limits(dict.fromkeys(RULES, BatchLimit(1)), 2, 0.0))
    passed: Counter[str] = Counter()
    came: list[str] = []
    order: list[str] = []
    for number in range(30):
        for model in "mno" if number % 3 else "mnn":
            came.append(f"{number:02}{len(came):03}{model}.yaml")
            world.drop(came[-1], 1, model=model)
        for _ in range(2):
            ((name, _numbers),) = world.begin()
            order.append(name)
            others = [other for other in came[: came.index(name)] if other not in order]
            passed.update({other: 15 for other in others if other[-6] != name[-6]})
            world.now += 15
            world.end()
    assert 60 <= max(passed.values()) < 60 + 15 + 1
    changes = sum(one[-6] != other[-6] for one, other in pairwise(order))
    assert 3 <= changes <= len(order) / 3


def test_batches_of_a_compiled_model_come_in_few_sizes(world: World) -> None:
    """A full batch, and then powers of two, in the order in which all was dropped."""
    limit = BatchLimit(7, in_few_sizes=True)
    world.jobs.use(Limits(dict.fromkeys(RULES, limit), 2, 0.0))
    for name in "abcde":
        world.drop(f"{name}.yaml", 2)
    world.drop("long.yaml", 7)
    batches = []
    while found := world.begin():
        batches.append(found)
        world.now += 15
        world.end()
    assert [4, 4, 2, 7] == [sum(len(numbers) for _, numbers in batch) for batch in batches]
    names = [name for batch in batches for name, _ in batch]
    assert names == sorted(names)


@pytest.mark.parametrize("files", [1, 30])
def test_two_with_much_to_do_do_not_exchange_models_at_each_batch(world: World, files: int) -> None:
    """Nobody is overdue for ever: who was rendered waits anew, and who is not next does not."""
    world.conditions = Conditions(model_wait_seconds=60.0)
    world.device = Device("m", room=1)
    world.jobs.use(Limits(dict.fromkeys(RULES, BatchLimit(1)), 2, 0.0))
    for number in range(files):
        world.drop(f"a/{number}.yaml", 30 // files, model="m")
        world.drop(f"b/{number}.yaml", 30 // files, model="n")
    order = []
    while found := world.begin():
        order.append(found[0][0][0])
        world.now += 15
        world.end()
    assert 60 == len(order)
    runs = [len(list(run)) for _, run in groupby(order)]
    assert {4, 5, 6} >= {*runs[:-1]}


def test_two_models_for_which_there_is_memory_take_turns_freely(world: World) -> None:
    """A loaded model gives no advantage over another loaded one."""
    world.device = Device("mn", room=2)
    for name in ("1m", "2n", "3m", "4n"):
        world.drop(f"{name}.yaml", 4, model=name[-1])
    assert ["1m.yaml", "2n.yaml", "3m.yaml", "4n.yaml"] == [
        name for ((name, _),) in world.render_all()
    ]
    assert [] == world.device.released


def test_the_least_recently_used_model_leaves(world: World) -> None:
    """If another one needs the room; the other stays."""
    world.device = Device("mn", room=2)
    for name in ("1m", "2n", "3o", "4n"):
        world.drop(f"{name}.yaml", 4, model=name[-1])
        world.render()
    assert ["m"] == world.device.released


def test_a_job_that_waits_for_a_model_in_trouble_is_cancelled_at_once(world: World) -> None:
    """Not when the model is tried again: whether it was never read, or has videos."""
    world.rules["o"] = None
    world.drop("unread.yaml", 1, model="o")
    assert world.feeder.feed(world.now, world.conditions)
    (world.folder / "inbox/mixed.yaml").write_text("prompts: [{prompt: a, model: n}, b]\n")
    world.look()
    for model in "no":
        world.models.failed(model, Unavailable(Mistake("no memory")), world.now)
    world.now += 0.5
    assert [[("mixed.yaml", [2])]] == world.render_all()
    in_spool = list(world.spool.unfinished())
    assert {"mixed.yaml", "unread.yaml"} == {str(job.source) for job in in_spool}
    for job in in_spool:
        assert job_files.ask_to_cancel(job)
    world.feeder.heed_cancellations(world.now)
    assert [] == list(world.spool.unfinished())
    left = sorted(p.name for p in (world.folder / "results/_failed").glob("*.error.txt"))
    assert ["mixed.yaml.error.txt", "unread.yaml.error.txt"] == left


def test_a_model_that_turns_out_to_be_wrong_fails_only_its_own_prompts(world: World) -> None:
    """Also of a job that waits in the spool for it: what has a video is not ordered again."""
    (world.folder / "inbox/mixed.yaml").write_text("prompts: [{prompt: a, model: n}, b]\n")
    world.look()
    world.models.failed("n", Unavailable(Mistake("no memory")), world.now)
    world.now += 0.5
    assert [[("mixed.yaml", [2])]] == world.render_all()
    (job,) = world.spool.unfinished()
    assert "n" == world.jobs.spooled.needs.of(job.id)
    world.models.failed("n", ConfigError(Mistake("no such folder")), world.now)
    assert [] == world.render_all()
    assert [] == list(world.spool.unfinished())
    left = (world.folder / "results/_failed/mixed.yaml").read_text()
    assert (1, True) == (left.count("prompt: "), "prompt: a" in left)


def test_prompts_of_a_model_that_cannot_be_used_wait(world: World) -> None:
    """Other prompts of their files are rendered, and settings can change."""
    path = world.folder / "inbox/mixed.yaml"
    path.write_text("prompts: [{prompt: a, model: n}, {prompt: b}, {prompt: c, model: n}]\n")
    world.drop("later.yaml", 1, model="n")
    world.models.failed("n", Unavailable(Mistake("no memory")), world.now)
    world.now += 0.5
    assert [[("mixed.yaml", [2])]] == world.render_all()
    assert not world.jobs.are_begun
    assert (world.folder / "inbox/later.yaml").exists()
    world.now += 1
    assert [("mixed.yaml", [1, 3]), ("later.yaml", [1])] == world.render()
    assert (4, 0) == (world.jobs.outcome.videos, world.jobs.outcome.failed_jobs)


def test_a_missing_translator_leaves_room_for_other_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files than may be open at once wait for it; one that needs none is rendered."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(schedule, "MAX_OPEN_JOBS", 8)
    world.jobs.use(Limits(dict.fromkeys(RULES, BatchLimit(SIZE)), 2, 600.0))
    sources, reads = {"zh": TranslatorSource("zh", "some/opus")}, {"m": Reads(("en",))}
    missing = Translator(sources, reads, lambda _: None, retry_seconds=600.0, is_patient=True)
    opened = world.jobs.opened
    opened.translate = Translations(missing, world.jobs, renders_untranslated=False).begin
    opened.translator_trouble, opened.stop_translating = missing.trouble, missing.forget
    for number in range(20):
        text = f"prompt: 大鹏一日同风起{number}\nmodel: m\n"
        (world.folder / f"inbox/{number:02}.yaml").write_text(text, encoding="utf-8")
    world.look()
    world.drop("english.yaml", 1)
    await_that(lambda: world.begin() == [("english.yaml", [1])], "the other file")
    world.end()
    missing.close()
    reasons = [found.reason for found in world.jobs.waiting()]
    assert 20 == len(reasons)
    assert all("reeldrop pull translate.zh" in reason for reason in reasons)
    assert (len(opened), 0) == (20 - world.jobs.spooled.postponed(), world.jobs.outcome.failed_jobs)
