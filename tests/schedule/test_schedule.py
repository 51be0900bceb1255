"""What is rendered next: situations, and what is decided in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from reeldrop.base.job import Prompt
from reeldrop.base.residents import Memory, Resident
from reeldrop.schedule import schedule
from reeldrop.schedule.decisions import Decision, Load, Open, PutBack, Release, Render, Wait
from reeldrop.schedule.models import Waits
from reeldrop.schedule.schedule import decide
from reeldrop.schedule.turns import Rank
from reeldrop.schedule.view import (
    AHEAD_SECONDS,
    BYTES_TO_ENCODE,
    Conditions,
    FileView,
    JobView,
    RendererView,
    SpoolView,
    View,
)

GIB = 1 << 30
CHANGING = Conditions(settings_change=True)
SIZE = 4


def rank(priority: int = 0, turn: int = 0, since: float = 0.0, name: str = "") -> Rank:
    """Return a place in the order."""
    return (-priority, turn, since, name)


def prompts(count: int, kind: int = 4, first: int = 1) -> tuple[Prompt, ...]:
    """Return prompts of a kind."""
    settings = (("num_frames", kind),)
    return tuple(Prompt(first + n, "p", "m", settings, 0, 8, ("mp4",)) for n in range(count))


def job(name: str, waiting: Sequence[Prompt] = prompts(1), **more: object) -> JobView:
    """Return an open job whose prompts wait, in the order of names."""
    found = JobView(name, rank(name=name), tuple(waiting), len(waiting), SIZE)
    return found._replace(**more)  # type: ignore[arg-type]


def left(name: str, **more: object) -> SpoolView:
    """Return a job that is in the spool, and not open."""
    return replace(SpoolView(name, rank(name=name)), **more)  # type: ignore[arg-type]


def file(name: str, count: int = 1, kind: int = 4, **more: object) -> FileView:
    """Return a file of the inbox."""
    found = FileView(name, rank(name=name), hash(prompts(1, kind)[0].batch_key), count)
    return found._replace(**more)  # type: ignore[arg-type]


def view(*waiting: JobView | SpoolView | FileView, **more: object) -> View:
    """Return a view of what waits, with an idle renderer."""
    found = View(
        (IDLE,),
        tuple(w for w in waiting if isinstance(w, JobView)),
        tuple(w for w in waiting if isinstance(w, SpoolView)),
        tuple(w for w in waiting if isinstance(w, FileView)),
    )
    return replace(found, **more)  # type: ignore[arg-type]


def render(
    *picks: tuple[str, int],
    past: tuple[str, ...] = (),
    renderer: int = 0,
    waits: tuple[str, ...] = (),
) -> Render:
    """Return that a batch of so many prompts of each job is rendered."""
    return Render(renderer, picks, past, waits)


def of(model: str) -> tuple[Prompt, ...]:
    """Return a prompt of another model."""
    return tuple(replace(prompt, model=model) for prompt in prompts(1))


def loaded(model: str) -> Resident:
    """Return a model of 10 GiB on the device."""
    return Resident(model, device_bytes=10 * GIB)


def kept(model: str) -> Resident:
    """Return a model of 10 GiB that waits in host memory."""
    return Resident(model, host_bytes=10 * GIB, is_ready=False)


def resident(model: str) -> Resident:
    """Return a model of 10 GiB that renders in host memory."""
    return Resident(model, host_bytes=10 * GIB)


def memory(*residents: Resident, free: int = 99, host: int = 99) -> Memory:
    """Return a GPU's memory, with so many GiB free on it and in host memory."""
    return Memory(residents, free * GIB, host * GIB)


def in_host(*residents: Resident, free: int = 99) -> Memory:
    """Return the memory of a machine without a GPU."""
    return Memory(residents, None, free * GIB)


HAS_M = memory(loaded("m"))
IDLE, BUSY = RendererView(memory=HAS_M), RendererView(True, math.inf, memory=HAS_M)
PATIENT = {"conditions": Conditions(model_wait_seconds=60.0)}
UNLOADS = {"conditions": Conditions(unload_seconds=600.0)}
HELD, NIGHT = Conditions(is_held=True), Conditions(is_night=True)
MIXED = (*prompts(1), *prompts(1, 8, 2))
SIZES = {"n": 10 * GIB, "o": 10 * GIB}
INF = {"seconds_left": math.inf}
HAS_N = RendererView(memory=memory(loaded("n")))
LOADS_O = RendererView(True, loading="o", **INF)
TIGHT = RendererView(memory=memory(loaded("m"), free=5))
SPEEDS = {"quick": 10.0, "slow": 41.0}
SLOW, QUICK = replace(IDLE, kind="slow"), replace(IDLE, kind="quick")
HAS_BOTH = replace(SLOW, memory=memory(loaded("m"), loaded("n")))
QUICK_IN_30 = replace(QUICK, is_busy=True, free_at=30.0, **INF)
FULL = tuple(job(f"{n:03}", (), is_in_hand=True) for n in range(schedule.MAX_OPEN_JOBS))

SITUATIONS: dict[str, tuple[View, Decision]] = {
    "nothing waits": (view(), Wait()),
    "a file": (view(file("a")), Open(file("a"))),
    "files for all that are free": (
        view(*map(file, "abcd"), renderers=(IDLE, BUSY, IDLE, IDLE)),
        Open(file("a"), (file("b"), file("c"))),
    ),
    "no file more than their prompts need": (
        view(file("a", 2), file("b", 5), file("c"), renderers=(IDLE,) * 4),
        Open(file("a", 2), (file("b", 5),)),
    ),
    "no file of another model or priority along": (
        view(file("a"), file("b", model="m"), file("c", rank=rank(1)), renderers=(IDLE,) * 3),
        Open(file("c", rank=rank(1))),
    ),
    "no file for the renderers that open prompts need": (
        view(*map(file, "abcd"), job("z", prompts(2)), renderers=(IDLE,) * 4),
        Open(file("a"), (file("b"),)),
    ),
    "open prompts of a model that is not loaded need none": (
        view(
            *(file(name, model="m") for name in "ab"),
            job("z", of("n")),
            sizes=SIZES,
            renderers=(IDLE,) * 2,
        ),
        Open(file("a", model="m"), (file("b", model="m"),)),
    ),
    "of groups that take turns one file each": (
        view(*(file(n, group=n[0]) for n in ("a1", "a2", "b1", "b2", "c1")), renderers=(IDLE,) * 3),
        Open(
            file("a1", group="a"),
            (file("b1", group="b"), file("c1", group="c")),
        ),
    ),
    "no file along while a job of the spool may have its turn": (
        view(file("a"), file("b"), left("z"), renderers=(IDLE,) * 2),
        Open(file("a")),
    ),
    "a job of the spool": (view(left("a"), file("b")), Open(left("a"))),
    "an open job": (view(job("a")), render(("a", 1))),
    "no more than fit": (view(job("a", prompts(9))), render(("a", SIZE))),
    "as many as are left": (view(job("a", prompts(3))), render(("a", 3))),
    "a few sizes, as each is compiled: a power of two": (
        view(job("a", prompts(3), in_few_sizes=frozenset({""}))),
        render(("a", 2)),
    ),
    "a few sizes: or a full batch": (
        view(job("a", prompts(4), size=3, in_few_sizes=frozenset({""}))),
        render(("a", 3)),
    ),
    "a few sizes, of prompts of several jobs": (
        view(*(job(name, prompts(3), size=8, in_few_sizes=frozenset({""})) for name in "abc")),
        render(("a", 3), ("b", 3), ("c", 2)),
    ),
    "a few sizes, the last job waits": (
        view(*(job(name, prompts(2), size=8, in_few_sizes=frozenset({""})) for name in "abc")),
        render(("a", 2), ("b", 2)),
    ),
    "a few sizes, only where it is compiled": (
        view(job("a", prompts(3), in_few_sizes=frozenset({"cuda"}))),
        render(("a", 3)),
    ),
    "a few sizes: what only the rest would have passed over is not": (
        view(
            job("a", prompts(4), size=8, in_few_sizes=frozenset({""})),
            job("b", prompts(1, 8)),
            job("c", prompts(2)),
        ),
        render(("a", 4)),
    ),
    # The renderer
    "it is busy": (view(job("a"), renderers=(BUSY,)), Wait()),
    "it ends in a second": (
        view(job("a"), renderers=(replace(BUSY, seconds_left=AHEAD_SECONDS),)),
        render(("a", 1)),
    ),
    "it ends later": (
        view(job("a"), renderers=(replace(BUSY, seconds_left=AHEAD_SECONDS + 0.1),)),
        Wait(),
    ),
    "one of two is idle": (view(job("a"), renderers=(BUSY, IDLE)), render(("a", 1), renderer=1)),
    "an idle one is before one that ends": (
        view(job("a"), renderers=(replace(BUSY, seconds_left=0.5), IDLE)),
        render(("a", 1), renderer=1),
    ),
    "it is paused": (view(job("a"), conditions=Conditions(is_ready=False)), Wait()),
    "there is too little room": (
        view(job("a"), conditions=Conditions(is_short_of_room=True)),
        Wait(),
    ),
    "the encoder is far behind": (
        view(job("a"), conditions=Conditions(bytes_to_encode=BYTES_TO_ENCODE)),
        Wait(),
    ),
    "the encoder keeps up": (
        view(job("a"), conditions=Conditions(bytes_to_encode=BYTES_TO_ENCODE - 1)),
        render(("a", 1)),
    ),
    # Order
    "a priority": (
        view(job("a"), file("b", kind=8, rank=rank(1))),
        Open(file("b", kind=8, rank=rank(1))),
    ),
    "in the middle of a file": (
        view(job("a", prompts(99)), job("b", prompts(1, 8), rank=rank(10))),
        render(("b", 1)),
    ),
    "a turn": (
        view(job("a", rank=rank(0, 2)), file("b", rank=rank(0, 1))),
        Open(file("b", rank=rank(0, 1))),
    ),
    "a priority is before a turn": (
        view(job("a", rank=rank(1, 2), size=1), file("b", rank=rank(0, 1))),
        render(("a", 1)),
    ),
    "what was begun": (
        view(job("z", prompts(9), rank=rank(since=-math.inf)), file("a")),
        render(("z", SIZE)),
    ),
    # Batches across jobs and files
    "jobs together": (view(job("a"), job("b", prompts(9))), render(("a", 1), ("b", 3))),
    "a file goes along": (view(job("a"), file("b", 3)), Open(file("b", 3))),
    "not a part of a file": (view(job("a"), file("b", 4), file("c")), Open(file("c"))),
    "not a file of two kinds": (
        view(job("a"), file("b", 2)._replace(kind=0)),
        render(("a", 1)),
    ),
    "past what is of another kind": (
        view(job("a"), job("b", prompts(1, 8)), file("c", kind=8), job("d")),
        render(("a", 1), ("d", 1), past=("b", "c")),
    ),
    "who is passed over for nobody is not": (
        view(job("a"), job("b", prompts(1, 8))),
        render(("a", 1)),
    ),
    "not twice past a job": (
        view(job("a"), job("b", prompts(1, 8), was_passed_over=True), job("c")),
        render(("a", 1)),
    ),
    "not twice past a file": (
        view(job("a"), file("b", kind=8, was_passed_over=True), file("c")),
        render(("a", 1)),
    ),
    "who was passed over goes along": (
        view(job("a"), job("b", was_passed_over=True), job("c")),
        render(("a", 1), ("b", 1), ("c", 1)),
    ),
    "past the rest of who leads": (
        view(job("a", MIXED), job("b")),
        render(("a", 1), ("b", 1), past=("a",)),
    ),
    "in order, open or not": (
        view(job("a"), job("c", prompts(9)), file("b")),
        Open(file("b")),
    ),
    "what is left in the spool is opened to see": (
        view(job("a"), left("b"), file("c")),
        Open(left("b")),
    ),
    # Alone
    "one that failed in a batch": (
        view(job("a", alone=frozenset({1}), size=1), job("b")),
        render(("a", 1)),
    ),
    "one that failed does not go along": (
        view(job("a"), job("b", alone=frozenset({1}))),
        render(("a", 1)),
    ),
    "a suspect": (
        view(job("a", prompts(9), is_suspect=True, size=1), job("b"), file("c")),
        render(("a", 1)),
    ),
    "a suspect does not go along": (view(job("a"), job("b", is_suspect=True)), render(("a", 1))),
    "a suspect of the spool does not go along": (
        view(job("a"), left("b", is_suspect=True)),
        render(("a", 1)),
    ),
    "a suspect waits for what is in hand": (
        view(job("a", is_suspect=True, size=1), job("b", (), is_in_hand=True)),
        Wait(),
    ),
    "a suspect of the spool, too": (
        view(left("a", is_suspect=True), job("b", (), is_in_hand=True)),
        Wait(),
    ),
    "nothing beside a suspect": (
        view(job("a", (), is_suspect=True, is_in_hand=True), job("b"), file("c")),
        Wait(),
    ),
    "a suspect that comes later": (
        view(job("a"), job("b", prompts(1, 8), is_suspect=True)),
        render(("a", 1)),
    ),
    # What keeps jobs from being opened
    "the disk is in trouble": (view(file("a"), is_in_trouble=True), Wait()),
    "the disk, and a job of the spool": (
        view(left("b"), file("a"), is_in_trouble=True),
        Open(left("b")),
    ),
    "the disk, and an open job": (view(job("b"), file("a"), is_in_trouble=True), render(("b", 1))),
    "cancelled": (view(job("a", (), is_in_hand=True), job("b")), render(("b", 1))),
    "settings change": (
        view(job("c"), file("a"), left("b"), conditions=CHANGING),
        render(("c", 1)),
    ),
    "what was begun goes on before": (
        view(left("b", was_begun=True), file("a"), conditions=CHANGING),
        Open(left("b", was_begun=True)),
    ),
    # Models
    "a model": (view(left("a", model="m"), file("b")), Load(0, left("a", model="m"))),
    "an open job's model": (
        view(job("a", of("n")), file("b"), sizes={"n": 10 * GIB}),
        Load(0, job("a", of("n"))),
    ),
    "one that is only kept in host memory": (
        view(job("a"), renderers=(RendererView(memory=memory(kept("m"))),)),
        Load(0, job("a")),
    ),
    "no model is loaded": (
        view(job("a"), file("b"), renderers=(RendererView(),)),
        Load(0, job("a")),
    ),
    "not during a render": (
        view(
            job("a", of("n")), sizes={"n": 10 * GIB}, renderers=(replace(BUSY, seconds_left=0.5),)
        ),
        Wait(),
    ),
    "nor while videos of the job are encoded": (
        view(job("a", of("n"), is_in_hand=True), sizes={"n": 10 * GIB}),
        Wait(),
    ),
    "those of others do not matter": (
        view(job("a", of("n")), job("b", (), is_in_hand=True), sizes={"n": 10 * GIB}),
        Load(0, job("a", of("n"))),
    ),
    "but for a suspect": (
        view(
            job("a", of("n"), is_suspect=True),
            job("b", (), is_in_hand=True),
            sizes={"n": 10 * GIB},
        ),
        Wait(),
    ),
    "a model, and a render": (
        view(left("a", model="m"), job("b"), renderers=(replace(BUSY, seconds_left=0.5),)),
        Wait(),
    ),
    "the first of another model waits for one that is loaded": (
        view(file("a", kind=16, model="n"), file("b", model="m")),
        Open(file("b", model="m")),
    ),
    "open or not": (
        view(file("a", kind=16, model="n"), left("a2", model="o"), job("b")),
        replace(render(("b", 1)), waits=("a", "a2")),
    ),
    "not for a lower priority": (
        view(file("a", kind=16, model="n", rank=rank(1)), job("b")),
        Open(file("a", kind=16, model="n", rank=rank(1))),
    ),
    "nor if nothing waits for a loaded one": (
        view(file("a", kind=16, model="n"), file("b", kind=16, model="o")),
        Open(file("a", kind=16, model="n")),
    ),
    "who has not waited for long goes on waiting": (
        view(
            file("a", kind=16, model="n"),
            job("b"),
            waits={"a": 59.9},
            **PATIENT,
        ),
        replace(render(("b", 1)), waits=("a",)),
    ),
    "who has waited for long is next": (
        view(
            file("a", kind=16, model="n"),
            job("b"),
            waits={"a": 60.0},
            **PATIENT,
        ),
        Open(file("a", kind=16, model="n")),
    ),
    "also if somebody came before him meanwhile": (
        view(
            file("a", kind=16, model="n"),
            file("b", kind=16, model="o"),
            job("c"),
            waits={"b": 61.0},
            **PATIENT,
        ),
        Open(file("b", kind=16, model="o")),
    ),
    "several are loaded: in the order of ranks": (
        view(
            job("a", of("n")),
            job("b"),
            renderers=(RendererView(memory=memory(loaded("m"), loaded("n"))),),
        ),
        render(("a", 1)),
    ),
    "only kept in host memory is not loaded": (
        view(
            job("a", of("n")),
            job("b"),
            renderers=(RendererView(memory=memory(loaded("m"), kept("n"))),),
        ),
        replace(render(("b", 1)), waits=("a",)),
    ),
    "a model that can't be used": (
        view(
            job("a", of("n")),
            left("b", model="n"),
            file("c", kind=16, model="n"),
            file("d", model="m"),
            unusable=frozenset("n"),
        ),
        Open(file("d", model="m")),
    ),
    # Memory
    "there is room for both": (
        view(
            job("a", of("n")),
            renderers=(RendererView(memory=memory(loaded("m"), free=15)),),
            sizes={"n": 10 * GIB},
        ),
        Load(0, job("a", of("n"))),
    ),
    "the least recently used leaves, and stays in host memory": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=memory(loaded("o"), loaded("m"), free=14)),),
        ),
        Release(0, "o", keeps=True),
    ),
    "not in host memory if there is no room for both": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=memory(loaded("o"), free=14, host=19)),),
        ),
        Release(0, "o", keeps=False),
    ),
    "who is in host memory leaves it for one that is read": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=memory(kept("o"), loaded("m"), free=99, host=9)),),
        ),
        Release(0, "o", keeps=False),
    ),
    "each of two processes reads it into host memory first": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            processes={"n": 2},
            renderers=(RendererView(memory=memory(kept("o"), loaded("m"), free=15, host=19)),),
        ),
        Release(0, "o", keeps=False),
    ),
    "what leaves finds no room beside both that read": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            processes={"n": 2},
            renderers=(RendererView(memory=memory(loaded("o"), free=14, host=29)),),
        ),
        Release(0, "o", keeps=False),
    ),
    "each process has a device of its own": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            processes={"n": 2},
            renderers=(RendererView(memory=memory(kept("o"), loaded("m"), free=15, host=20)),),
        ),
        Load(0, job("a", of("n"))),
    ),
    "one of unknown size gets all the room": (
        view(
            job("a", of("n")),
            renderers=(RendererView(memory=memory(loaded("m"), free=999)),),
        ),
        Release(0, "m", keeps=True),
    ),
    "one comes back from host memory": (
        view(
            job("a", of("n")),
            renderers=(RendererView(memory=memory(kept("n"), loaded("m"), free=14, host=0)),),
        ),
        Release(0, "m", keeps=False),
    ),
    "one that is loaded needs room to render": (
        view(job("a"), renderers=(RendererView(memory=memory(loaded("o"), loaded("m"), free=4)),)),
        Release(0, "o", keeps=True),
    ),
    "and has it": (
        view(job("a"), renderers=(RendererView(memory=memory(loaded("o"), loaded("m"), free=5)),)),
        render(("a", 1)),
    ),
    "nobody else can leave": (
        view(job("a"), renderers=(RendererView(memory=memory(loaded("m"), free=0)),)),
        render(("a", 1)),
    ),
    "on a CPU, host memory counts": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=in_host(resident("o"), resident("m"), free=14)),),
        ),
        Release(0, "o", keeps=False),
    ),
    "on a CPU, that of each process": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            processes={"n": 2},
            renderers=(RendererView(memory=in_host(resident("m"), free=29)),),
        ),
        Release(0, "m", keeps=False),
    ),
    "on a CPU, there is room": (
        view(
            job("a", of("n")),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=in_host(resident("m"), free=15)),),
        ),
        Load(0, job("a", of("n"))),
    ),
    "room is made before a model is loaded to read a file": (
        view(
            left("a", model="n"),
            sizes={"n": 10 * GIB},
            renderers=(RendererView(memory=memory(loaded("m"), free=14)),),
        ),
        Release(0, "m", keeps=True),
    ),
    "nobody leaves during a render": (
        view(
            job("a", of("n")),
            renderers=(RendererView(True, 0.5, memory=memory(loaded("m"), free=14)),),
        ),
        Wait(),
    ),
    "nothing to do, for a while": (
        view(renderers=(RendererView(idle_since=-599, memory=memory(loaded("m"))),), **UNLOADS),
        Wait(),
    ),
    "nothing to do for long": (
        view(
            renderers=(RendererView(idle_since=-600, memory=memory(kept("o"), loaded("m"))),),
            **UNLOADS,
        ),
        Release(0, "m", keeps=True),
    ),
    "nothing to do for long, and no room in host memory": (
        view(
            renderers=(RendererView(idle_since=-600, memory=memory(loaded("m"), host=9)),),
            **UNLOADS,
        ),
        Release(0, "m", keeps=False),
    ),
    "nothing to do for long, and the device is free": (
        view(renderers=(RendererView(idle_since=-600, memory=memory(kept("m"))),), **UNLOADS),
        Wait(),
    ),
    "nothing to do for long, on a CPU": (
        view(renderers=(RendererView(idle_since=-600, memory=in_host(resident("m"))),), **UNLOADS),
        Release(0, "m", keeps=False),
    ),
    "all that waits can't go on for long": (
        view(
            file("a", kind=16, model="n"),
            unusable=frozenset("n"),
            renderers=(RendererView(idle_since=-600, memory=in_host(resident("m"))),),
            **UNLOADS,
        ),
        Release(0, "m", keeps=False),
    ),
    "a model for who comes later": (view(job("a"), left("b", model="m")), render(("a", 1))),
    # Files in the inbox that steer
    "somebody has asked for a pause": (
        view(job("a"), left("b"), file("c"), conditions=HELD),
        Wait(),
    ),
    "what was cancelled ends in a pause, too": (
        view(job("a"), left("b", is_cancelled=True), conditions=HELD),
        Open(left("b", is_cancelled=True)),
    ),
    "models leave in a long pause": (
        view(
            job("a"),
            renderers=(RendererView(idle_since=-600, memory=in_host(resident("m"))),),
            conditions=replace(HELD, unload_seconds=600.0),
        ),
        Release(0, "m", keeps=False),
    ),
    "by day, files of the night wait": (
        view(
            left("a", is_of_night=True),
            file("b", is_of_night=True, rank=rank(10)),
            file("c", rank=rank(-10)),
        ),
        Open(file("c", rank=rank(-10))),
    ),
    "by day, nothing else waits": (view(file("a", is_of_night=True)), Wait()),
    "by night, they have their turn": (
        view(file("a", is_of_night=True), file("b"), conditions=NIGHT),
        Open(file("a", is_of_night=True)),
    ),
    "by night, no more than that": (
        view(file("a"), file("b", is_of_night=True), conditions=NIGHT),
        Open(file("a")),
    ),
    "in the morning, they go back": (
        view(job("a", is_of_night=True, may_leave=True), job("b")),
        PutBack("a", is_over=True),
    ),
    "in the morning, unless something would be lost": (
        view(job("a", is_of_night=True), job("b")),
        render(("b", 1)),
    ),
    "at night, they stay": (
        view(job("a", is_of_night=True, may_leave=True, may_go_back=True), conditions=NIGHT),
        render(("a", 1)),
    ),
    "a file that goes first": (
        view(job("a"), file("NOW/b", rank=rank(10), kind=8)),
        Open(file("NOW/b", rank=rank(10), kind=8)),
    ),
    # Several renderers
    "the model is ready on the second": (
        view(job("a", of("n")), renderers=(IDLE, HAS_N)),
        render(("a", 1), renderer=1),
    ),
    "the first in line goes where its model is, the next one stays for the other": (
        view(job("a", of("n")), job("b"), renderers=(IDLE, replace(HAS_N, is_busy=True, **INF))),
        render(("b", 1), waits=("a",)),
    ),
    "nobody has the model: the one with fewer models loads it": (
        view(job("a", of("o")), sizes=SIZES, renderers=(IDLE, RendererView(memory=memory()))),
        Load(1, job("a", of("o"))),
    ),
    "another one loads it already": (
        view(job("a", of("o")), sizes=SIZES, renderers=(IDLE, LOADS_O)),
        Wait(),
    ),
    "another one loads it, but more wait than it can take at once": (
        view(job("a", of("o"), count=SIZE + 1), sizes=SIZES, renderers=(IDLE, LOADS_O)),
        Load(0, job("a", of("o"), count=SIZE + 1)),
    ),
    "a job that can't be read before another one has loaded its model": (
        view(left("a", model="o"), sizes=SIZES, renderers=(IDLE, LOADS_O)),
        Wait(),
    ),
    "who has the model is busy, and there is room for another copy": (
        view(job("a", of("n")), sizes=SIZES, renderers=(IDLE, replace(HAS_N, is_busy=True, **INF))),
        Load(0, job("a", of("n"))),
    ),
    "who has the model is busy, and another model would have to leave": (
        view(
            job("a", of("n")), sizes=SIZES, renderers=(TIGHT, replace(HAS_N, is_busy=True, **INF))
        ),
        Wait(),
    ),
    "unless it has waited for too long": (
        view(
            job("a", of("n")),
            sizes=SIZES,
            renderers=(TIGHT, replace(HAS_N, is_busy=True, **INF)),
            waits={"a": 60.0},
            **PATIENT,
        ),
        Release(0, "m", keeps=True),
    ),
    "or one has had nothing to do for as long": (
        view(
            job("a", of("n")),
            sizes=SIZES,
            renderers=(replace(TIGHT, idle_since=-60.0), replace(HAS_N, is_busy=True, **INF)),
            **PATIENT,
        ),
        Release(0, "m", keeps=True),
    ),
    "a card can't use the model": (
        view(
            job("a", of("n")),
            sizes=SIZES,
            renderers=(replace(IDLE, unusable=frozenset("n")), RendererView(memory=memory())),
        ),
        Load(1, job("a", of("n"))),
    ),
    "a card can't use the model, and goes on with others": (
        view(
            job("a", of("n")),
            job("b"),
            renderers=(replace(IDLE, unusable=frozenset("n")), replace(HAS_N, is_busy=True, **INF)),
        ),
        render(("b", 1), waits=("a",)),
    ),
    "more fit on the second": (
        view(
            job("a", prompts(9), sizes={"small": 2, "large": 8}),
            renderers=(replace(BUSY, kind="small"), replace(IDLE, kind="large")),
        ),
        render(("a", 8), renderer=1),
    ),
    "fewer fit on the first": (
        view(
            job("a", prompts(9), sizes={"small": 2, "large": 8}),
            renderers=(replace(IDLE, kind="small"), replace(IDLE, kind="large")),
        ),
        render(("a", 2)),
    ),
    "idle ones share what waits": (
        view(job("a", prompts(3)), file("b"), renderers=(IDLE, IDLE, BUSY)),
        render(("a", 2)),
    ),
    "idle ones share what waits, of which only some is seen": (
        view(job("a", prompts(SIZE), count=99), renderers=(IDLE, IDLE, IDLE)),
        render(("a", SIZE)),
    ),
    "idle ones that have not the model have no share": (
        view(job("a", prompts(3)), renderers=(IDLE, HAS_N)),
        render(("a", 3)),
    ),
    "not one fits on a card, which goes on with others": (
        view(
            job("a", sizes={"slow": 0, "quick": 4}),
            job("b", prompts(1, 8)),
            renderers=(SLOW, QUICK_IN_30),
        ),
        render(("b", 1), waits=("a",)),
    ),
    "not one fits where the model is ready, so the other card loads it": (
        view(
            job("a", sizes={"slow": 0, "quick": 4}),
            sizes=SIZES,
            renderers=(SLOW, replace(QUICK, memory=memory())),
        ),
        Load(1, job("a", sizes={"slow": 0, "quick": 4})),
    ),
    "not one fits on the only card now, which goes on with others": (
        view(job("a", sizes={"slow": 0}), job("b", prompts(1, 8)), renderers=(SLOW,)),
        render(("b", 1), waits=("a",)),
    ),
    "a card on which not one fits has no share": (
        view(job("a", prompts(3), sizes={"slow": 0, "quick": 4}), renderers=(QUICK, SLOW)),
        render(("a", 3)),
    ),
    "a slow card leaves the last video to a quick one that is still busy": (
        view(job("a", seconds=SPEEDS), renderers=(SLOW, QUICK_IN_30)),
        Wait(("a",)),
    ),
    "it does not if it ends no later": (
        view(job("a", seconds=SPEEDS), renderers=(SLOW, replace(QUICK_IN_30, free_at=31.0))),
        render(("a", 1)),
    ),
    "it renders while much waits, but not what would end later": (
        view(job("a", prompts(9), seconds=SPEEDS), renderers=(SLOW, QUICK_IN_30)),
        render(("a", 2)),
    ),
    "it renders as many as fit while very much waits": (
        view(job("a", prompts(SIZE), count=99, seconds=SPEEDS), renderers=(SLOW, QUICK_IN_30)),
        render(("a", SIZE)),
    ),
    "what waits in files counts, too": (
        view(
            job("a", seconds=SPEEDS),
            file("b", 8, kind=8),
            renderers=(SLOW, QUICK_IN_30),
        ),
        render(("a", 1)),
    ),
    "it is not known how much is in a file": (
        view(job("a", seconds=SPEEDS), file("b", 0), renderers=(SLOW, QUICK_IN_30)),
        render(("a", 1)),
    ),
    "what waits for another model does not count": (
        view(
            job("a", seconds=SPEEDS),
            job("b", of("n"), count=9),
            renderers=(replace(SLOW, unusable=frozenset("n")), QUICK_IN_30),
        ),
        Wait(("a",)),
    ),
    "what it leaves does not keep it from other work": (
        view(
            job("a", seconds=SPEEDS),
            job("b", of("n"), count=99),
            renderers=(HAS_BOTH, QUICK_IN_30),
        ),
        render(("b", 1), waits=("a",)),
    ),
    "nor from files of another model": (
        view(
            job("a", seconds=SPEEDS),
            file("b", kind=8, model="n"),
            renderers=(HAS_BOTH, QUICK_IN_30),
        ),
        Open(file("b", kind=8, model="n")),
    ),
    "files after what it leaves stay in the inbox": (
        view(
            job("a", seconds=SPEEDS),
            file("b", kind=8, model="m"),
            renderers=(SLOW, replace(QUICK_IN_30, free_at=8.0)),
        ),
        Wait(("a", "b")),
    ),
    "it leaves nothing for longer than it would have taken for it": (
        view(
            job("a", rank=rank(1), seconds=SPEEDS),
            job("b", seconds=SPEEDS),
            renderers=(SLOW, replace(QUICK_IN_30, free_at=8.0)),
            waits={"a": 40.9, "b": 41.0},
        ),
        render(("b", 1)),
    ),
    "a suspect is left to nobody, or it might wait for ever": (
        view(
            job("a", is_suspect=True, size=1, seconds=SPEEDS),
            job("b", of("n"), count=99),
            job("c", (), is_in_hand=True),
            renderers=(HAS_BOTH, QUICK_IN_30),
        ),
        Wait(),
    ),
    "idle ones share by their speed": (
        view(job("a", prompts(5), size=8, seconds=SPEEDS), renderers=(SLOW, QUICK)),
        render(("a", 1)),
    ),
    "the quick one of two takes the last": (
        view(job("a", seconds=SPEEDS), renderers=(SLOW, QUICK)),
        render(("a", 1), renderer=1),
    ),
    "of two alike, one that is idle takes the last": (
        view(job("a", seconds=SPEEDS), renderers=(QUICK, replace(QUICK_IN_30, free_at=0.5))),
        render(("a", 1)),
    ),
    "a card of unknown speed renders": (
        view(job("a", seconds={"quick": 10.0}), renderers=(SLOW, QUICK_IN_30)),
        render(("a", 1)),
    ),
    "nobody waits for a card of unknown speed": (
        view(job("a", seconds={"slow": 41.0}), renderers=(SLOW, QUICK_IN_30)),
        render(("a", 1)),
    ),
    "one of unknown speed has an equal share": (
        view(job("a", prompts(3), seconds={"slow": 41.0}), renderers=(SLOW, QUICK)),
        render(("a", 2)),
    ),
    "nobody waits for what has an unknown end": (
        view(job("a", seconds=SPEEDS), renderers=(SLOW, replace(QUICK_IN_30, free_at=math.inf))),
        render(("a", 1)),
    ),
    "what is late is waited for": (
        view(
            job("a", seconds=SPEEDS),
            renderers=(SLOW, replace(QUICK_IN_30, free_at=40.0)),
            now=100.0,
        ),
        Wait(("a",)),
    ),
    "but not for long": (
        view(
            job("a", seconds=SPEEDS),
            renderers=(SLOW, replace(QUICK_IN_30, free_at=40.0)),
            now=102.0,
        ),
        render(("a", 1)),
    ),
    "nobody waits for a quick one that has not the model": (
        view(job("a", seconds=SPEEDS), renderers=(SLOW, replace(QUICK_IN_30, memory=memory()))),
        render(("a", 1)),
    ),
    "the quick one is nearly done, and takes what the slow one leaves": (
        view(
            job("a", seconds=SPEEDS),
            renderers=(SLOW, replace(QUICK_IN_30, seconds_left=0.5, free_at=3.0)),
        ),
        render(("a", 1), renderer=1),
    ),
    "a job in hand elsewhere, whose model is loaded for more of it": (
        view(
            job("a", of("n"), count=9, is_in_hand=True),
            sizes=SIZES,
            renderers=(IDLE,),
            conditions=Conditions(outlives_renderers=True),
        ),
        Load(0, job("a", of("n"), count=9, is_in_hand=True)),
    ),
    "a suspect waits until nothing else is in hand anywhere": (
        view(job("a", is_suspect=True), job("b", (), is_in_hand=True), renderers=(BUSY, IDLE)),
        Wait(),
    ),
    "beside a suspect, nothing is rendered anywhere": (
        view(job("a", is_suspect=True, is_in_hand=True), job("b"), renderers=(BUSY, IDLE)),
        Wait(),
    ),
    "one of several has had nothing to do for long": (
        view(
            renderers=(BUSY, RendererView(idle_since=-600, memory=in_host(resident("m")))),
            **UNLOADS,
        ),
        Release(1, "m", keeps=False),
    ),
    "what failed at one place is left to another": (
        view(
            job("a", failed_at=frozenset("x")),
            renderers=(replace(IDLE, place="x"), replace(BUSY, place="y")),
        ),
        Wait(),
    ),
    "another place takes it": (
        view(
            job("a", failed_at=frozenset("x")),
            job("b"),
            renderers=(replace(IDLE, place="x"), replace(IDLE, place="y")),
        ),
        render(("b", 1), renderer=0, waits=("a",)),
    ),
    "another place takes what failed at the first": (
        view(
            job("a", failed_at=frozenset("x")),
            renderers=(replace(IDLE, place="x"), replace(IDLE, place="y")),
        ),
        render(("a", 1), renderer=1),
    ),
    "one that others can't render goes to the same place again": (
        view(
            job("a", failed_at=frozenset("x")),
            renderers=(
                replace(IDLE, place="x"),
                replace(IDLE, place="y", unusable=frozenset("m")),
                replace(BUSY, place="z", is_held=True),
            ),
        ),
        render(("a", 1)),
    ),
    "one that failed everywhere goes anywhere": (
        view(
            job("a", failed_at=frozenset("xy")),
            renderers=(replace(IDLE, place="x"), replace(BUSY, place="y")),
        ),
        render(("a", 1)),
    ),
    # Many
    "all are in hand": (view(*FULL, file("a")), Wait()),
    "all are in hand, and there is another renderer": (
        view(*FULL, file("a"), renderers=(BUSY, IDLE)),
        Open(file("a")),
    ),
    "one has to go back": (
        view(*FULL[2:], job("x", may_go_back=True), job("y", may_go_back=True), file("a")),
        PutBack("y"),
    ),
    "not one that would lose something": (
        view(*FULL[2:], job("x", may_go_back=True), job("y"), file("a")),
        PutBack("x"),
    ),
    "many, and one that has failed before is of the night": (
        view(
            *FULL[2:],
            job("x", may_leave=True, may_go_back=True),
            job("y", is_of_night=True, may_leave=True),
            file("a"),
            conditions=NIGHT,
        ),
        PutBack("x"),
    ),
    "none can go back": (view(*FULL[1:], job("x"), file("a")), render(("x", 1))),
    "many, and one of them is next": (view(*FULL[1:], job("x"), file("y")), render(("x", 1))),
    "many prompts": (
        view(job("x", count=schedule.MAX_OPEN_PROMPTS, may_go_back=True), left("a")),
        PutBack("x"),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_decided(situation: str) -> None:
    """Each situation has one answer, and it follows from what is seen alone."""
    seen, expected = SITUATIONS[situation]
    assert expected == decide(seen)


def test_what_waits_for_a_quick_one_that_always_gets_other_work_is_taken_in_time() -> None:
    """The slow one takes it as soon as it could have been through with it."""
    waits, low = Waits(), job("low", rank=rank(-1), seconds=SPEEDS)
    for now in range(0, 100, 2):
        if now % 8 == 0:
            waits.begin(("short",), (), now, "quick")
        quick = replace(QUICK_IN_30, free_at=now + 8 - now % 8)
        found = decide(view(low, renderers=(SLOW, quick), waits=waits.seconds(now), now=now))
        if not isinstance(found, Wait):
            break
        waits.leave_to_others(found.left, now)
    assert (render(("low", 1)), 42) == (found, now)
