"""The time left of a prompt file: near the truth at each moment, from what was measured."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
from reeldrop.base.job import Attempt, Batch, Job, Member, Prompt
from reeldrop.base.windows import Windows
from reeldrop.schedule.turns import Rank
from reeldrop.schedule.view import FileView, JobView
from reeldrop.service import outlook
from reeldrop.service.forecast import ENCODED_PIXELS, Forecast
from reeldrop.service.opened import OpenJob
from reeldrop.store.attempts import Attempts

FRAMES, SIDE = 25, 400
PIXELS = FRAMES * SIDE * SIDE
TICK = 0.25
NEAR = 0.3
"""The largest error, as a share of the truth."""


def prompt(number: int = 1, frames: int = FRAMES, steps: int = 20, model: str = "m") -> Prompt:
    """Return a prompt for a video of so many frames."""
    size = (("num_frames", frames), ("height", SIDE), ("width", SIDE))
    return Prompt(number, "p", model, (*size, ("num_inference_steps", steps)), 0, 8, ("mp4",))


@dataclass(frozen=True)
class Machine:
    """How long a machine takes, in seconds, for a video of `FRAMES` frames.

    growth: how step and decoding grow with the number of videos in a batch: 1 is in proportion
    noise: by what share steps differ from each other
    """

    lead: float = 1.0
    step: float = 1.0
    decoding: float = 6.0
    encoding: float = 1.5
    growth: float = 1.0
    noise: float = 0.0

    def share(self, batch: Batch) -> float:
        """Return how many times as long a batch takes as one video of `FRAMES` frames."""
        frames = batch.members[0].prompt.argument("num_frames")
        assert isinstance(frames, int)
        return float(frames / FRAMES * len(batch.members) ** self.growth)


class World:
    """Renders and encodes by a clock of its own, and asks for the time left all the while."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.forecast = Forecast()
        self.now = 1000.0
        self._random = random.Random(1)

    def warm_up(self, frames: int = FRAMES) -> None:
        """Render two steps, and encode nothing."""
        batch = Batch((Member("", prompt(frames=frames, steps=2)),))
        for _ in self._events(batch, self.now):
            pass

    def _events(self, batch: Batch, now: float) -> Iterator[float]:
        """Begin a batch, and yield the times at which the forecast is told of it."""
        machine, share = self.machine, self.machine.share(batch)
        self.forecast.begin(batch, now)
        yield now
        now += machine.lead
        for step in range(1, batch.steps + 1):
            now += machine.step * share * (1 + self._random.uniform(-1, 1) * machine.noise)
            yield now
            self.forecast.step_done(step, now)
        now += machine.decoding * share
        yield now
        self.forecast.rendered(now)
        self.now = now

    def rendered(self, job_id: str, batches: list[Batch]) -> list[tuple[float, float]]:
        """Render batches, and return what was said to be left, and when, after the first step."""
        said: list[tuple[float, float]] = []
        encoder: list[tuple[float, Member]] = []
        asked = self.now

        def let_pass(until: float, *, is_told: bool) -> None:
            """Let time pass, and the encoder work, which ends one video after the other."""
            nonlocal asked
            while encoder and encoder[0][0] <= until:
                ask(encoder[0][0], is_told=is_told)
                at, member = encoder.pop(0)
                self.forecast.encoded("job", member.prompt.number, at, is_published=True)
            ask(until, is_told=is_told)

        def ask(until: float, *, is_told: bool) -> None:
            nonlocal asked
            while asked < until:
                left = self.forecast.left(job_id, coming, asked)
                if is_told:
                    assert left is not None
                    said.append((asked, left))
                asked += TICK

        for place, batch in enumerate(batches):
            coming = [(other, 1) for other in batches[place + 1 :]]
            for number, at in enumerate(self._events(batch, self.now)):
                let_pass(at, is_told=place > 0 or number > 1)
            for member in batch.members:
                begin = max(self.now, encoder[-1][0] if encoder else 0.0)
                seconds = self.machine.encoding * self.machine.share(Batch((member,)))
                encoder.append((begin + seconds, member))
                self.forecast.encode(member, self.now)
        coming = []
        end = encoder[-1][0]
        let_pass(end, is_told=True)
        self.now = end
        return [(left, end - at) for at, left in said]


def file(count: int, together: int = 1, **changed: int) -> list[Batch]:
    """Return the batches of a prompt file, the last of which may be smaller."""
    members = [Member("job", prompt(number, **changed)) for number in range(1, count + 1)]
    return [Batch(tuple(members[at : at + together])) for at in range(0, count, together)]


def errors(said: list[tuple[float, float]]) -> list[float]:
    """Return by what share of the truth each was wrong, or of one second if less is left."""
    return [abs(left - truth) / max(truth, 1.0) for left, truth in said]


MACHINES = {
    "usual": Machine(),
    "slow to decode": Machine(decoding=40.0),
    "slow to read texts": Machine(lead=12.0),
    "slow to encode": Machine(encoding=30.0),
    "shared with others": Machine(noise=0.25),
    "better with many": Machine(growth=0.8),
    "quick": Machine(0.02, 0.05, 0.1, 0.05),
}
FILES = {
    "one": file(1),
    "many": file(10),
    "two at once": file(6, 2),
    "in batches": file(10, 4),
    "longer videos": file(3, frames=2 * FRAMES),
    "few steps": file(4, steps=2),
    "two kinds": [*file(3), *file(3, frames=3 * FRAMES)],
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_what_is_left_is_known_within_30_percent(machine: Machine) -> None:
    """At each moment after the first step, decoding and encoding included, and never none."""
    world = World(machine)
    world.warm_up()
    world.rendered("job", file(1))  # encoding is measured now, too
    world.rendered("job", [*file(2, 2), *file(4, 4)])
    for name, batches in FILES.items():
        said = world.rendered("job", batches)
        assert said, name
        assert min(left for left, _ in said) > 0
        assert max(errors(said)) <= NEAR, name
        rises = [after - before for (before, _), (after, _) in pairwise(said)]
        assert max(rises, default=0.0) <= NEAR * said[0][1], name


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("frames", [FRAMES, FRAMES // 3])
def test_the_warm_up_is_enough_to_begin_with(machine: Machine, frames: int) -> None:
    """Of the first file of all, only encoding has to be guessed, from the number of pixels."""
    world = World(machine)
    world.warm_up(frames)
    guess = PIXELS / ENCODED_PIXELS
    for left, truth in world.rendered("job", file(4)):
        assert abs(left - truth) <= max(NEAR * truth, 4 * abs(machine.encoding - guess), NEAR)


def test_a_long_video_takes_as_long_as_its_windows() -> None:
    """Each of their steps lasts as long as that of a video of a window's length."""
    world = World(Machine())
    world.warm_up()
    asked = replace(prompt(frames=4 * FRAMES), windows=Windows(FRAMES, FRAMES // 2))
    assert 7 == asked.pieces
    batch = Batch((Member("job", asked),))
    left = world.forecast.left("job", [(batch, 1)], world.now)
    machine = world.machine
    truth = 7 * 20 * machine.step + 4 * (machine.decoding + machine.encoding) + machine.lead
    assert left is not None
    assert abs(left - truth) <= NEAR * truth


def test_each_kind_of_card_has_a_speed_of_its_own_once_it_has_rendered_such_a_video() -> None:
    """Neither another card nor another size says anything; what is in hand and next is added up."""
    forecast, took = Forecast(), {"quick": 1.0, "slow": 4.0}
    alone, pair = (Batch((Member("", prompt(steps=10)),) * count) for count in (1, 2))
    for card, seconds in took.items():
        forecast.join(f"{card}/1", card)
        assert forecast.seconds_each(prompt(), 1, card) is None
        forecast.begin(alone, 0, f"{card}/1")
        for step in range(1, 11):
            forecast.step_done(step, seconds * step, f"{card}/1")
        forecast.rendered(15 * seconds, f"{card}/1")
    for card, seconds in took.items():
        assert 15 * seconds == pytest.approx(forecast.seconds_each(prompt(steps=10), 1, card))
        assert 25 * seconds == pytest.approx(forecast.seconds_each(prompt(steps=20), 2, card))
        assert forecast.seconds_each(prompt(frames=2 * FRAMES), 1, card) is None
        assert forecast.seconds_each(prompt(model="n"), 1, card) is None
    assert math.inf == forecast.free_at("slow/1", None, 100)
    forecast.begin(alone, 100, "slow/1")
    assert 160 == pytest.approx(forecast.free_at("slow/1", None, 100))
    forecast.step_done(5, 120, "slow/1")
    assert 160 == pytest.approx(forecast.free_at("slow/1", None, 120))
    assert 280 == pytest.approx(forecast.free_at("slow/1", pair, 120))


def test_without_any_figure_nothing_is_said_before_the_first_step() -> None:
    """Then it is known at once how long all steps take; what decoding takes shows later."""
    forecast = Forecast()
    [batch] = file(1)
    forecast.begin(batch, 0.0)
    assert forecast.left("job", [], 5.0) is None
    forecast.step_done(1, 10.0)
    left = forecast.left("job", [], 10.0)
    assert left is not None
    assert 19 * 10 < left < 22 * 10 + 1


def test_a_figure_of_another_model_is_better_than_none() -> None:
    """Until this one has rendered its own first step."""
    world = World(Machine())
    world.warm_up()
    [batch] = file(1)
    other = Batch((Member("job", prompt(model="n")),))
    assert world.forecast.left("job", [(other, 1)], world.now) is not None
    world.forecast.begin(batch, world.now)
    assert world.forecast.left("job", [], world.now) == pytest.approx(27 + 0.4, abs=1)


def test_steps_that_are_counted_anew_are_measured_anew() -> None:
    """Memory ran out in the fifth step, and the batch goes on in smaller parts."""
    forecast = Forecast()
    [batch] = file(2, 2)
    forecast.begin(batch, 0.0)
    for step in range(1, 6):
        forecast.step_done(step, 10.0 * step)
    for step in range(1, 4):
        forecast.step_done(step, 100.0 + step)
    left = forecast.left("job", [], 103.0)
    assert left is not None
    assert 17 <= left <= 17 + 2 + 1


def test_a_batch_that_fails_and_a_video_that_can_not_be_encoded_teach_nothing() -> None:
    """What took no time, because it failed, is not said of those that come."""
    world = World(Machine())
    world.warm_up()
    [batch], [member] = file(1), file(1)[0].members
    before = world.forecast.left("job", [(batch, 1)], world.now)
    world.forecast.begin(batch, world.now)
    world.forecast.encode(member, world.now)
    assert member is world.forecast.in_encoder
    world.forecast.encoded("job", member.prompt.number, world.now, is_published=False)
    world.forecast.begin(None, world.now)
    assert world.forecast.in_encoder is None
    assert before == world.forecast.left("job", [(batch, 1)], world.now)


# Which batches come

OWN: Rank = (0, 8, 5.0, "own")


def job(count: int, attempts: tuple[Attempt, ...] = ()) -> OpenJob:
    """Return an open job with so many prompts that wait."""
    folder = Path("/nowhere")
    opened = OpenJob(
        Job("own", PurePosixPath("a.txt"), folder, (), attempts),
        Attempts(),
        count,
        {},
        0,
        is_resumed=False,
        place=(0.0, ""),
        is_suspect=bool(attempts),
    )
    opened.waiting.extend(prompt(number) for number in range(1, count + 1))
    return opened


def view(name: str, rank: Rank, count: int, size: int = 2) -> JobView:
    """Return an open job, with the first of its prompts."""
    prompts = tuple(prompt(number) for number in range(1, 1 + min(count, size)))
    return JobView(name, rank, prompts, count, size)


def coming(opened: OpenJob, *others: JobView | FileView) -> list[tuple[str, int, int]]:
    """Return whose batches come, each with its size and how many like it there are."""
    jobs = [view("own", OWN, len(opened.waiting)), *(o for o in others if isinstance(o, JobView))]
    files = [other for other in others if isinstance(other, FileView)]
    found = outlook.to_come(opened, lambda _prompt: 4, jobs, files)
    return [(batch.members[0].job_id, len(batch.members), count) for batch, count in found]


def test_the_prompts_of_a_file_are_counted_in_their_batches() -> None:
    """Whole ones, what is left over, what is being translated, and alone what failed before."""
    assert [] == coming(job(0))
    assert [("own", 4, 2), ("own", 2, 1)] == coming(job(10))
    assert [("own", 4, 2500)] == coming(job(10_000))
    assert [("own", 1, 3)] == coming(job(3, (Attempt("", (1,)),)))
    opened = job(6)
    opened.alone = {1}
    opened.resting = [(7.0, prompt(9))]
    assert [("own", 1, 1), ("own", 4, 1), ("own", 1, 1), ("own", 1, 1)] == coming(opened)
    opened = job(0)
    opened.resting = [(math.inf, prompt(number)) for number in range(1, 10_001)]
    assert [("own", 4, 2500)] == coming(opened)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (view("urgent", (-1, 9, 9.0, "x"), 9), [("urgent", 2, 5)]),
        (view("later", (1, 1, 1.0, "x"), 9), []),
        (view("its group, before", (0, 8, 1.0, "x"), 9), [("its group, before", 2, 5)]),
        (view("its group, after", (0, 8, 6.0, "x"), 9), []),
        (view("another group", (0, 3, 6.0, "x"), 3), [("another group", 2, 2)]),
        (view("another group", (0, 3, 6.0, "x"), 99), [("another group", 2, 3)]),
        (FileView("file", (0, 3, 6.0, "x"), count=8), [("own", 4, 2)]),
        (FileView("not read yet", (0, 3, 6.0, "x")), []),
        (view("nothing waits", (0, 3, 6.0, "x"), 0), []),
    ],
)  # fmt: skip
def test_what_goes_ahead_is_counted_as_far_as_it_is_known(
    other: JobView | FileView, expected: list[tuple[str, int, int]]
) -> None:
    """What is more urgent, or came before; and of another group a batch before each own one."""
    assert [*expected, ("own", 4, 2), ("own", 2, 1)] == coming(job(10), other)
