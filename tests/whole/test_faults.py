"""Pipelines, disks and folders that fail: what the daemon does, and what the next one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.processes import FAULTY, await_that
from harness.site import Daemon, Site, make_site
from safetensors.torch import load_file, save_file

MIB = 1 << 20

EIGHT = "num_inference_steps: 1\nprompts:\n" + "".join(
    f"  - {{prompt: {name}, seed: {seed}}}\n"
    for seed, name in enumerate(["a", "b", "c", "segfault", "e", "f", "g", "h"])
)


@dataclass
class Restarted:
    """A site whose daemon was started again, as systemd does, until it ended normally."""

    site: Site
    exit_codes: list[int]
    stderr: list[str]
    events: list[dict[str, Any]]


def restarted(site: Site) -> Restarted:
    """Start daemons with a faulty pipeline, one after another, until one ends normally."""
    made = Restarted(site, [], [], [])
    while not made.exit_codes or made.exit_codes[-1] not in (0, 1):
        assert len(made.exit_codes) < 6
        run = site.drain(program=FAULTY)
        made.exit_codes.append(run.returncode)
        made.stderr.append(run.stderr)
        made.events += [json.loads(line) for line in run.stdout.splitlines()]
    return made


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Restarted:
    """Eight prompts in batches of two; one of them ends each process that renders it."""
    site = make_site(tmp_path_factory.mktemp("poisoned") / "site", tiny_pipeline)
    site.configure("max_attempts: 2")
    site.drop("eight.yaml", EIGHT)
    site.drop("neighbour.txt", "a neighbour\n")
    return restarted(site)


def test_a_poison_prompt_takes_only_itself_down(poisoned: Restarted) -> None:
    """Its seven neighbours and the next file are rendered."""
    assert [-11, -11, 1] == poisoned.exit_codes
    videos = sorted(path.stem for path in (poisoned.site.results / "eight").glob("*.mp4"))
    assert ["a", "b", "c", "e", "f", "g", "h"] == videos
    assert (poisoned.site.results / "neighbour/a_neighbour.mp4").exists()
    published = [e["file"] for e in poisoned.events if e["event"] == "video_published"]
    assert len(set(published)) == len(published) == 8


def test_a_poison_prompt_is_set_aside_with_what_is_known(poisoned: Restarted) -> None:
    """`_failed/` has only that prompt, with how and when the process ended each time."""
    left = (poisoned.site.failed / "eight.yaml").read_text()
    assert ["prompt: segfault"] == [x for x in left.splitlines() if x.startswith("prompt")]
    report = (poisoned.site.failed / "eight.yaml.error.txt").read_text()
    assert "the process ended in the middle of it 2 times (at 20" in report
    assert 2 == report.count(": Segmentation fault")


def test_the_next_process_says_how_the_one_before_ended(poisoned: Restarted) -> None:
    """In its log, at the start; a normal end leaves no trace."""
    ends = [e["reason"] for e in poisoned.events if e["event"] == "previous_process_ended"]
    assert ["Segmentation fault"] * 2 == ends
    assert not (poisoned.site.spool / "ending").exists()


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Restarted:
    """A prompt that hangs the renderer, one beside it, and a job after it."""
    site = make_site(tmp_path_factory.mktemp("hung") / "site", tiny_pipeline)
    site.configure("max_attempts: 1", "stall_seconds: 5")
    site.drop("a.yaml", "prompts: [hang, a cow]\n")
    site.drop("b.txt", "a horse\n")
    return restarted(site)


def test_a_hung_render_ends_the_process(hung: Restarted) -> None:
    """The trace says which thread hung and where; another process continues."""
    assert [70, 70, 1] == hung.exit_codes, "once with its neighbour, once alone"
    assert "reeldrop: stalled: no progress for 5 s while rendering" in hung.stderr[0]
    assert "faulty_daemon.py" in hung.stderr[0]
    assert 2 <= hung.stderr[0].count("hread 0x")
    assert "stalled" in {event["event"] for event in hung.events}


def test_a_render_that_hangs_each_time_is_set_aside(hung: Restarted) -> None:
    """The prompt beside it and the job after it are rendered."""
    report = (hung.site.failed / "a.yaml.error.txt").read_text()
    assert "stalled: no progress for 5 s while rendering, in step 0" in report
    assert (hung.site.results / "a/a_cow.mp4").exists()
    assert (hung.site.results / "b/a_horse.mp4").exists()


@pytest.fixture
def hanging_model(site: Site, tiny_pipeline: Path) -> tuple[str, ...]:
    """A second profile, and the program that hangs when it loads it."""
    second = site.folder / "second"
    second.symlink_to(tiny_pipeline)
    (site.folder / "second.hangs").touch()
    with (site.folder / "config.yaml").open("a") as config:
        config.write("  second: {path: second, variant: fp16, defaults: {num_frames: 2}}\n")
    site.drop("a.yaml", "prompt: a horse\nmodel: second\n")
    return (*FAULTY, f"--hang-loading={second}")


def test_a_model_that_hangs_while_it_is_loaded_ends_the_process(
    site: Site, hanging_model: tuple[str, ...]
) -> None:
    """Its prompts fail after `max_attempts`; others are rendered."""
    site.configure("max_attempts: 2", "stall_seconds: 5")
    site.drop("b.txt", "a horse\n")
    exit_codes = [site.drain(program=hanging_model).returncode for _ in range(3)]
    assert [70, 70, 1] == exit_codes
    report = (site.failed / "a.yaml.error.txt").read_text()
    assert 2 == report.count("stalled: no progress for 5 s while loading second")
    assert (site.results / "b/a_horse.mp4").exists()


def test_a_stop_while_a_model_is_loaded_for_a_job_costs_it_nothing(
    site: Site, hanging_model: tuple[str, ...]
) -> None:
    """No attempt counts, and the next start continues the job."""
    stopped = Daemon(site, program=hanging_model)
    await_that(lambda: list(site.spool.glob("active/*/attempts.json")), "the loading")
    assert 0 == stopped.stop()
    resumed = site.drain()
    started = [json.loads(line) for line in resumed.stdout.splitlines() if "job_started" in line]
    assert (0, [1]) == (resumed.returncode, [event["attempt"] for event in started])
    assert (site.results / "a/a_horse.mp4").exists()


def test_a_hung_encoder_ends_the_process_though_rendering_goes_on(site: Site) -> None:
    """Otherwise frames would accumulate, and no video would be published."""
    site.configure("max_attempts: 1", "stall_seconds: 5")
    site.drop("a.txt", "a horse\n")
    site.drop("b.yaml", "prompt: b\nnum_inference_steps: 1000\n")
    run = site.drain(program=(*FAULTY, "--hang-encoding"))
    assert 70 == run.returncode
    assert "stalled: no progress for 5 s while encoding" in run.stderr
    (job,) = (path.parent for path in site.spool.glob("active/*/a.txt"))
    assert [1] == json.loads((job / "attempts.json").read_text())[-1]["numbers"]


def test_so_many_jobs_are_open_and_no_more(site: Site) -> None:
    """With a slow encoder, files stay in the inbox, where their owners can edit them."""
    site.configure("stall_seconds: 5")
    for name in ("a", "b", "c", "d"):
        site.drop(f"{name}.txt", "a horse\n")
    run = site.drain(program=(*FAULTY, "--hang-encoding"))
    assert (70, 2) == (run.returncode, run.stdout.count("job_started"))
    assert ["c.txt", "d.txt"] == sorted(path.name for path in site.inbox.iterdir())


def test_a_model_that_renders_nothing_takes_no_prompt_file(
    site: Site, tmp_path: Path, tiny_pipeline: Path
) -> None:
    """It fails before the daemon is ready; otherwise each file of the inbox would fail."""
    broken = shutil.copytree(tiny_pipeline, tmp_path / "broken")
    for weights in broken.glob("vae/*.safetensors"):
        tensors = load_file(weights)
        save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, weights)
    config = site.folder / "config.yaml"
    config.write_text(config.read_text().replace(str(tiny_pipeline), str(broken)))
    site.drop("a.txt", "a horse\n")
    run = site.command("run")
    expected = (
        "the model can't render its own defaults: the model returned frames that are not numbers"
    )
    assert (75, True) == (run.returncode, expected in run.stderr), run.stderr
    assert ["a.txt"] == [path.name for path in site.inbox.iterdir()]


def test_a_watchdog_that_would_bite_first_is_told(daemon: Callable[..., Daemon]) -> None:
    """A watchdog shorter than `stall_seconds` is logged: it can't say where a render hung."""
    event = daemon(WATCHDOG_USEC="60000000").wait_for("watchdog_is_first")
    assert "ends a render after 60 s" in event["reason"]


@pytest.fixture
def filler(tmp_path: Path) -> Iterator[Path]:
    """A file of 16 MiB on a file system whose space nobody else takes or gives back."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
    (disk / "filler").write_bytes(bytes(16 * MIB))
    yield disk / "filler"
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def crowded(site: Site, filler: Path) -> Site:
    """A site whose results have too little space while the filler exists."""
    found = os.statvfs(filler)
    needed = (found.f_bavail * found.f_frsize + 8 * MIB) / (1 << 30)
    site.configure(f"results: {filler.parent}/results", f"min_free_gib: {needed}")
    return site


@pytest.mark.usefixtures("root")
def test_a_full_disk_pauses_the_rendering(
    crowded: Site, filler: Path, daemon: Callable[..., Daemon]
) -> None:
    """The file waits in the inbox, the status has the reason, and work continues later."""
    dropped = crowded.drop("a.txt", "a horse\n")
    started = daemon()
    started.wait_for("paused")

    def is_told() -> bool:
        found = json.loads(crowded.command("status", "--json").stdout)
        return found["state"] == "paused" and "GiB free in" in found["reason"]

    await_that(is_told, "the reason")
    assert dropped.exists()
    filler.unlink()
    started.wait_for("job_ended")
    assert ["paused", "resumed"] == [
        event["event"] for event in started.events() if event["event"] in ("paused", "resumed")
    ]
    assert (filler.parent / "results/a/a_horse.mp4").exists()


@pytest.mark.usefixtures("root")
def test_a_reload_counts_while_there_is_too_little_room(
    crowded: Site, daemon: Callable[..., Daemon]
) -> None:
    """With a lower limit, work continues at once."""
    crowded.drop("a.txt", "a horse\n")
    started = daemon()
    started.wait_for("paused")
    assert 0 == crowded.command("reload").returncode
    started.wait_for("reloaded")
    crowded.configure("min_free_gib: 0")
    assert [] == started.events("job_started")
    assert 0 == crowded.command("reload").returncode
    started.wait_for("job_ended")
    assert 1 == len(started.events("paused"))


@pytest.mark.usefixtures("root")
def test_a_drain_does_not_wait_for_room(crowded: Site) -> None:
    """It ends with 75, and leaves everything in place."""
    dropped = crowded.drop("a.txt", "a horse\n")
    run = crowded.drain()
    assert 75 == run.returncode
    assert "GiB free in" in run.stderr
    assert "min_free_gib" in run.stderr
    assert dropped.exists()


def test_a_second_daemon_under_systemd_waits_for_the_first(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """systemd may start one beside a process that can't be ended; it takes over later."""
    first = daemon()
    first.wait_for("ready")
    address = site.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(60)
        second = daemon(NOTIFY_SOCKET=str(address))
        status = f"STATUS=process {first.process.pid} works on {site.spool} already; waiting"
        assert systemd.recv(4096).decode().startswith(status)
        assert "EXTEND_TIMEOUT_USEC=60000000" == systemd.recv(4096).decode()
        dropped = site.drop("a.txt", "a horse\n")
        first.wait_for("job_ended")
        assert not dropped.exists()
        first.process.kill()
        messages = [""]
        while messages[-1] != "READY=1":
            messages.append(systemd.recv(4096).decode())
    second.wait_for("ready")
    site.drop("b.txt", "a cow\n")
    second.wait_for("job_ended")


def test_folders_inside_each_other_by_way_of_a_link_are_refused(site: Site, tmp_path: Path) -> None:
    """Otherwise the daemon would render its own sidecars for ever."""
    (tmp_path / "link").symlink_to(site.inbox)
    site.configure(f"results: {tmp_path}/link/results")
    run = site.drain()
    assert 78 == run.returncode
    assert "results" in run.stderr
    assert f"is inside the inbox ({site.inbox})" in run.stderr


def test_a_replaced_inbox_freezes_the_daemon_until_the_old_one_is_back(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """An empty mount point looks like an inbox whose files were deleted."""
    started = daemon()
    started.wait_for("ready")
    away = site.inbox.with_name("away")
    site.inbox.rename(away)
    site.inbox.mkdir()
    site.drop("stray.txt", "not here\n")
    gone = started.wait_for("inbox_gone")
    assert "another folder is in its place" in gone["reason"]
    (away / "a.txt").write_text("a horse\n")
    site.inbox.rename(site.folder / "impostor")
    away.rename(site.inbox)
    started.wait_for("inbox_back")
    assert "a.txt" == started.wait_for("job_ended")["prompt_file"]
    assert (site.folder / "impostor/stray.txt").exists()


def test_a_drain_does_not_wait_for_an_inbox_that_is_read_only(site: Site) -> None:
    """It is logged once, and the exit code is 75."""
    for name in ("a.txt", "b.txt", "c.txt"):
        site.drop(name, "a horse\n")
    run = site.drain(program=(*FAULTY, "--read-only-inbox"))
    failures = [e for e in map(json.loads, run.stdout.splitlines()) if e["event"] == "claim_failed"]
    assert (75, 1) == (run.returncode, len(failures))
    assert "held up: can't be taken: Read-only file system" in run.stderr
    assert "Read-only file system" in failures[0]["reason"]
    assert ["a.txt", "b.txt", "c.txt"] == sorted(path.name for path in site.inbox.iterdir())


def _set(clock: Path, days: str) -> None:
    """Set the clock in one step: a daemon sees the old time or the new one."""
    new = clock.with_suffix(".new")
    new.write_text(days)
    new.rename(clock)


def test_a_clock_that_jumps_by_days_loses_nothing(site: Site) -> None:
    """Files settle and renders continue; the spool keeps its order."""
    site.configure("stall_seconds: 30", "settle_seconds: 0.5")
    clock = site.folder / "clock"
    _set(clock, "0")
    started = Daemon(site, (*FAULTY, f"--clock={clock}"))
    started.wait_for("ready")
    days = []
    for number, jump in enumerate(["3", "-3", "0"], start=1):
        site.drop(f"{number}.yaml", f"prompt: p{number}\nnum_inference_steps: 15\n")
        days.append(started.wait_for("job_started", number)["job_id"][:8])
        _set(clock, jump)
        started.wait_for("job_ended", number)
        assert (site.results / f"{number}/p{number}.mp4").exists()
    assert days[2] < days[0] < days[1], "the clock has jumped"
    assert [] == started.events("stalled")
    assert 0 == started.stop()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_end_on_request_is_held_against_no_prompt(site: Site, second: int) -> None:
    """Even if a second signal does not wait for the renderer."""
    site.drop("a.txt", "hang\n")
    started = Daemon(site, FAULTY)
    await_that(lambda: started.events("job_started"), "the render")
    await_that(lambda: list(site.spool.glob("active/*/attempts.json")), "the attempt")
    started.process.send_signal(signal.SIGTERM)
    started.wait_for("stopping")
    assert -second == started.stop(second)
    (prompt_file,) = site.spool.glob("active/*/a.txt")
    prompt_file.write_text("a horse\n")
    again = Daemon(site, FAULTY)
    assert 1 == again.wait_for("job_started")["attempt"]
    assert [] == again.events("previous_process_ended")
    again.wait_for("job_ended")
    assert 0 == again.stop()


def test_a_damaged_record_in_the_spool_is_reported_and_holds_nothing_up(site: Site) -> None:
    """The prompt file is set aside with the reason; later jobs are rendered."""
    job = site.spool / "active" / "20260101-000000-000000-abcdef"
    job.mkdir(parents=True)
    (job / "a.txt").write_text("a horse\n")
    (job / "job.json").write_text('{"source": "poems/a.t')
    (job / "attempts.json").write_text('[{"began')
    site.drop("b.txt", "a cow\n")
    run = site.drain()
    assert 1 == run.returncode, run.stderr
    assert "a horse\n" == (site.failed / "a.txt").read_text()
    assert "its record in the spool is damaged" in (site.failed / "a.txt.error.txt").read_text()
    assert (site.results / "b/a_cow.mp4").exists()
    assert [] == list((site.spool / "active").iterdir())
    assert 0 == site.drain().returncode


def test_a_drain_ends_where_its_inbox_vanishes(site: Site) -> None:
    """Exit code 75, and nothing is lost."""
    site.configure("settle_seconds: 30")
    site.drop("a.txt", "a horse\n")
    drain = Daemon(site, options=["--drain"])
    drain.wait_for("ready")
    site.inbox.rename(site.folder / "away")
    assert 75 == drain.process.wait(60)
    assert (site.folder / "away/a.txt").exists()
