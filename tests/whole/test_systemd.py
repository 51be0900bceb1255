"""`make install` on a machine, and the service under its real systemd, as PID 1."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import pages, real_systemd
from harness.real_service import CONFIG_FILE, DROP_INS, FOR_TESTS, UNIT, Service, with_model
from harness.real_systemd import HARNESS, PYTHON, Machine
from harness.site import Hold

SYSTEM_UNITS = ("reeldrop.service", "reeldrop@.service", "reeldrop-notify.service")
CAP_LEASE = 28

PROBE = f"""\
[Service]
Type=oneshot
ExecStart=
ExecStart=/opt/reeldrop/.venv/bin/python {HARNESS}/sandbox_probe.py /srv/reeldrop
"""

FEW_KERNELS = "Environment=TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0\n"
"""To compile the headers takes longer than to read them once."""

FAULTY = f"""\
[Service]
ExecStart=
ExecStart=/opt/reeldrop/.venv/bin/python {HARNESS}/faulty_daemon.py run --config {CONFIG_FILE}
"""

IDLE = """\
[Service]
Type=exec
ExecStart=
ExecStart=/bin/sleep infinity
"""
"""A service that is there, and does nothing."""

MOST_EXPOSURE = {"reeldrop-notify.service": 15}
USUAL_EXPOSURE = 12
"""In tenths, as `systemd-analyze security` counts; a service without any hardening has 96. The
network of what tells others counts for some."""

HOLD = "/srv/reeldrop/hold"
HOLDING = FAULTY.replace(".py run", f".py --hold={HOLD} run")
"""A drop-in with which a render of a prompt with the text of the file HOLD does not end."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Machine]:
    """A machine with reeldrop installed, and a person, ann, in its group."""
    real_systemd.require()
    with real_systemd.machine(tmp_path_factory.mktemp("machine")) as booted:
        booted.install()
        with_model(booted, tiny_pipeline)
        booted.run("useradd", "--create-home", "--groups=reeldrop", "ann")
        booted.run("useradd", "--create-home", "bob")
        yield booted


@pytest.fixture
def service(machine: Machine) -> Service:
    """reeldrop.service as installed, with the tiny pipeline; not started."""
    made = Service(machine)
    made.begin()
    return made


@pytest.fixture
def installed(machine: Machine) -> Service:
    """The running service as installed."""
    return started(machine)


@pytest.fixture
def running(machine: Machine) -> Service:
    """The running service with HOLDING."""
    return started(machine, holding=HOLDING)


def started(machine: Machine, **drop_ins: str) -> Service:
    """Return the running service, reused from the last test if possible: a start is slow.

    `start` returns when it is ready.
    """
    made = Service(machine)
    if made.is_as_begun(*drop_ins):
        made.clear()
        made.begin_journal()
    else:
        made.begin()
        for name, text in drop_ins.items():
            made.drop_in(name, text)
        made.systemctl("start")
        assert "active" == made.show("ActiveState")
    return made


@pytest.fixture
def held(running: Service) -> Iterator[Hold]:
    """Return a prompt file with one prompt that takes a while."""
    hold = Hold(running.machine.path(HOLD))
    hold.hold("a slow boat")
    running.drop("long.yaml", LONG)
    running.await_step("long.yaml")
    yield hold
    hold.release()


LONG = "prompts: [a slow boat]\nseed: 1\n"


def as_person(machine: Machine, name: str, script: str) -> str:
    """Run a shell script as a person, and return its output, or its error."""
    person = ("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups")
    done = machine.run(*person, "sh", "-c", script, check=False)
    return done.stdout + done.stderr


def assert_completed_once(service: Service) -> None:
    """Wait for the video of the long render; assert that it exists once, and nothing else."""
    service.await_files("long/long.yaml")
    videos = [path.name for path in service.site.results.rglob("*.mp4")]
    assert ["a_slow_boat.mp4"] == videos
    assert 1 == len(service.events("video_published"))
    assert [] == list((service.site.spool / "active").iterdir())
    assert [] == list(service.site.failed.iterdir())


# As it was installed: nothing may have been started yet


def test_systemd_has_no_complaint(machine: Machine) -> None:
    """`systemd-analyze verify` prints nothing."""
    for name in SYSTEM_UNITS:
        done = machine.run("systemd-analyze", "verify", f"/usr/local/lib/systemd/system/{name}")
        assert ("", "") == (done.stdout, done.stderr)


def test_the_exposure_is_low(machine: Machine) -> None:
    """`systemd-analyze security` rates the service as well protected."""
    for name in SYSTEM_UNITS:
        file = f"/usr/local/lib/systemd/system/{name}"
        limit = f"--threshold={MOST_EXPOSURE.get(name, USUAL_EXPOSURE)}"
        machine.run("systemd-analyze", "security", "--offline=true", limit, file)


def test_the_user_and_the_folders_are_made(machine: Machine) -> None:
    """A user without login, an inbox for its group, results that the group can read."""
    user = machine.run("getent", "passwd", "reeldrop").stdout.strip().split(":")
    assert ("/srv/reeldrop", "/usr/sbin/nologin") == (user[5], user[6])
    modes = {".": 0o750, "inbox": 0o2770, "results": 0o2750, "spool": 0o2750}
    for name, mode in modes.items():
        found = machine.path(f"/srv/reeldrop/{name}").stat()
        assert mode == stat.S_IMODE(found.st_mode)
        assert [int(user[2]), int(user[3])] == [found.st_uid, found.st_gid]


def test_a_python_that_the_service_can_not_see_is_refused(machine: Machine) -> None:
    """A Python in a home would fail at the first start, with 203/EXEC."""
    machine.path("/home/ann/python").symlink_to(PYTHON)
    with pytest.raises(AssertionError, match="this Python is in /home/ann/python: make install"):
        machine.make("install", PYTHONHOME="/home/ann/python")


# What a person sees


def test_a_wrong_config_is_not_tried_again(service: Service) -> None:
    """78 is not restarted; a missing folder is tried again."""
    service.configure(max_attempts="many")
    assert "failed" in service.systemctl("start", check=False)
    assert ("failed", "78") == (service.show("ActiveState"), service.show("ExecMainStatus"))
    assert "0" == service.show("NRestarts")

    service.configure()
    service.site.inbox.rename(service.site.folder / "elsewhere")
    service.machine.run("systemctl", "start", "--no-block", service.unit)
    service.machine.await_that(lambda: int(service.show("NRestarts")) >= 2, "two restarts")
    assert [] != service.journal("--grep=status=75")
    (service.site.folder / "elsewhere").rename(service.site.inbox)
    service.await_state("ActiveState", "active")


def test_from_the_inbox_to_the_video(installed: Service) -> None:
    """What the group's members drop, in folders, too, is made.

    Who is not in the group may neither drop anything nor look.
    """
    service, machine = installed, installed.machine
    service.await_state("StatusText", "idle")

    drop = f"umask 022; cd {service.folder}/inbox && mkdir poems && echo 'a boat' >poems/one.txt"
    assert "can't cd" in as_person(machine, "bob", drop)
    assert "" == as_person(machine, "ann", drop)
    service.drop("bad.yaml", "prompts: [a boat]\nnum_frame: 3\n")
    service.await_files("poems/one/a_boat.mp4", "poems/one/one.txt", "_failed/bad.yaml")

    look = f"cat {service.folder}/results/poems/one/a_boat.yaml"
    assert "prompt: a boat" in as_person(machine, "ann", look)
    machine.await_that(lambda: "idle\n" == as_person(machine, "ann", "reeldrop status"), "idle")
    assert "Permission denied" in as_person(machine, "bob", look)
    the_journal_tells_of_each_job(service)


def test_a_file_of_somebody_else_waits_for_its_writer(running: Service) -> None:
    """The kernel tells the service about files of any owner."""
    service = running
    held = ("sh", "-euc", f"exec >{service.folder}/inbox/slow.txt; echo 'a boat'; exec sleep 1000")
    unit = ("--unit=writer", "--uid=ann", "--property=UMask=0022")
    service.machine.run("systemd-run", "--quiet", *unit, *held)
    waits = "slow.txt\tstill being written by another program"
    service.machine.await_that(lambda: waits in status_of(service), waits)
    service.drop("other.txt", "a boat\n")
    service.await_files("other/other.txt")
    assert waits in status_of(service)
    service.machine.run("systemctl", "stop", "writer")
    service.await_files("slow/a_boat.mp4", "slow/slow.txt")


def status_of(service: Service) -> str:
    """Return the status that a member of the group sees."""
    return as_person(service.machine, "ann", "reeldrop status")


def the_journal_tells_of_each_job(service: Service) -> None:
    """Assert that `JOB_ID=` finds all lines of one job only, and `-p` the problems."""
    (published,) = service.events("video_published")
    job = service.journal(f"JOB_ID={published['JOB_ID']}")
    assert {published["JOB_ID"]} == {entry["JOB_ID"] for entry in job}
    begin = f"job started: job_id={published['JOB_ID']} prompt_file=poems/one.txt "
    assert job[0]["MESSAGE"].startswith(begin)
    assert {("6", "reeldrop")} == {(e["PRIORITY"], e["SYSLOG_IDENTIFIER"]) for e in job}
    (log,) = (service.site.results / "poems/one").glob("*.log")
    in_file = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert in_file == [entry["EVENT"] for entry in job]

    (wrong,) = service.journal("--priority=warning", "SYSLOG_IDENTIFIER=reeldrop")
    assert ("bad.yaml", "3") == (wrong["PROMPT_FILE"], wrong["PRIORITY"])


def test_what_tells_others_can_write_only_what_it_told(running: Service) -> None:
    """The unit beside it sees videos, and runs programs; their writes go nowhere else."""
    machine, results = running.machine, running.folder + "/results"
    elsewhere = f"{results}/x {running.folder}/x /etc/reeldrop/x"
    hook = ["/bin/sh", "-c", f"cat >$STATE_DIRECTORY/told; touch {elsewhere}; exit 3"]
    running.configure(on_video=json.dumps(hook), notify_seconds=0.1)
    notifier = Service(machine, "reeldrop-notify.service")
    notifier.since = running.since
    notifier.drop_in("for-tests", FOR_TESTS)
    notifier.systemctl("start")
    running.drop("boat.txt", "a boat\n")
    machine.await_that(lambda: notifier.events("hook_failed"), "the end of the program")
    told = json.loads(machine.path("/var/lib/reeldrop-notify/told").read_text())
    assert f"{results}/boat/a_boat.mp4" == told["video"]
    assert "mixed" == notifier.show("KillMode")  # or a stop would end programs, as if done
    [end] = notifier.events("hook_failed")
    assert ("exit code 3", 3) == (end["REASON"], end["OUTPUT"].count("Read-only file system"))
    notifier.systemctl("stop")
    assert "0" == notifier.show("ExecMainStatus")
    running.configure()


# Stop and reload


def test_stop_and_kill_in_the_middle_of_a_render(running: Service, held: Hold) -> None:
    """Stop does not wait for the video; after it, or after `kill -9`, the video exists once."""
    service = running
    service.systemctl("stop")
    assert ("inactive", "success") == (service.show("ActiveState"), service.show("Result"))
    assert 1 == len(list((service.site.spool / "active").iterdir()))

    service.systemctl("start")
    service.await_step("long.yaml")
    service.machine.run("systemctl", "kill", "--signal=KILL", service.unit)
    service.await_state("NRestarts", "1")
    held.release()
    assert_completed_once(service)
    assert [] != service.journal("--grep=status=9/KILL")
    assert 1 == len(service.events("previous_process_ended"))


def test_reload(running: Service, held: Hold) -> None:
    """A wrong config.yaml is refused, a right one is used next; the render continues."""
    service = running
    pid = service.show("MainPID")
    service.configure(max_attempts="many")
    assert "failed" in service.systemctl("reload", check=False)
    assert [] != service.journal("--grep=max_attempts")

    service.configure()
    config = service.machine.path(CONFIG_FILE)
    config.write_text(config.read_text().replace("num_frames: 4", "num_frames: 6"))
    service.systemctl("reload")
    held.release()
    assert_completed_once(service)
    service.machine.await_that(lambda: service.events("reloaded"), "the new config.yaml")
    service.drop("next.txt", "a boat\n")
    service.await_files("next/next.txt")
    assert "num_frames: 6" in (service.site.results / "next/a_boat.yaml").read_text()
    assert (pid, "active") == (service.show("MainPID"), service.show("ActiveState"))


# Ends that nobody asked for


def test_what_hangs_is_ended(service: Service) -> None:
    """A hung render ends its process, which says where it hung; in the end the prompt is set aside.

    A process that can't even look after itself is ended by the watchdog, and started again, and
    tells how. Its other threads have nothing to do by then: where they run on, what they leave may
    be cut off.
    """
    faulty = FAULTY.replace(".py run", f".py --hang-once={service.folder}/hung run")
    service.drop_in("quick", f"{faulty}WatchdogSec=10s\n")
    service.configure(stall_seconds=5)
    service.drop("long.yaml", LONG)
    service.systemctl("start")
    service.await_state("NRestarts", "1")
    assert_completed_once(service)
    (ended,) = service.events("previous_process_ended")
    assert "Aborted" == ended["REASON"]
    told = ended["MESSAGE"]
    assert re.search(r"loop\.py.* in work", told), f"where the main thread was: {told}"
    assert re.search(r"faulty_daemon\.py.* in hanging", told), told
    assert [] == service.events("stalled")

    service.configure(stall_seconds=5, max_attempts=1)
    service.systemctl("reload")
    service.machine.await_that(lambda: service.events("reloaded"), "the new config.yaml")
    service.drop("long.txt", "hang\n")
    service.await_files("_failed/long.txt", "_failed/long.txt.error.txt")
    assert "2" == service.show("NRestarts")
    assert 1 == len(service.events("stalled"))
    assert 1 == len(service.journal("--grep=status=70"))
    assert "stalled" in (service.site.failed / "long.txt.error.txt").read_text()
    assert [] != service.journal("--grep=faulty_daemon.py.*in _break")


# What it must not be able to do


def probed(service: Service) -> dict[str, Any]:
    """Return what the settings of the unit allow."""
    machine = service.machine
    another = machine.path("/srv/another")
    another.mkdir(exist_ok=True)
    another.chmod(0o777)
    for place in ("/tmp", "/var/tmp"):
        machine.path(f"{place}/of-another").touch()
    machine.run("mknod", "-m", "666", "/dev/forbidden", "c", "10", "229")  # FUSE's
    service.drop_in("probe", PROBE)
    try:
        service.systemctl("start")
    finally:
        machine.path("/dev/forbidden").unlink()
    found: dict[str, Any] = json.loads((service.site.spool / "found.json").read_text())
    return found


def network_of(machine: Machine) -> str:
    """Return what identifies a machine's network."""
    return machine.run("readlink", "/proc/1/ns/net").stdout.strip()


def test_it_is_kept_to_its_folders(service: Service) -> None:
    """It can write only its own folders, read no homes, and use no network."""
    found = probed(service)
    assert {""} == set(found.pop("allowed").values())
    forbidden = found.pop("forbidden")
    assert found.pop("network") != network_of(service.machine)
    assert "Read-only file system" == forbidden["/srv/another"]
    assert "" not in forbidden.values()
    denied, refused = "Permission denied", "Operation not permitted"
    assert {
        "rename": "",
        "homes": [denied, denied],
        "others' temporary files": [],
        "others' processes": [],
        "device": refused,
        "random": "",
        "internet": "Address family not supported by protocol",
        "unix": "",
        "offline": "1",
        "mount": refused,
        "unshare": refused,
        "capabilities": f"{1 << CAP_LEASE:016x}",
        "user": [True, True],
    } == found


def test_the_memory_is_what_the_unit_may_have(machine: Machine) -> None:
    """`MemoryMax=` bounds the batch size, like the machine's free memory."""
    command = "from reeldrop.render import memory; print(memory.available_bytes() >> 20)"
    python = ("/opt/reeldrop/.venv/bin/python", "-c", command)
    own = ("systemd-run", "--wait", "--pipe", "--quiet", f"--setenv=LD_LIBRARY_PATH={PYTHON}/lib")
    free = int(machine.run(*own, *python).stdout)
    bounded = int(machine.run(*own, "--property=MemoryMax=300M", *python).stdout)
    assert 200 < bounded < 300 < free


def test_it_may_compile_and_keeps_that_for_the_next_start(service: Service) -> None:
    """The compiler works, and its cache survives a restart, unlike /tmp."""
    service.drop_in("probe", PROBE.replace("sandbox", "compiling") + FEW_KERNELS)
    for misses_and_hits in ("1 0", "0 1"):
        service.systemctl("start")
        told = [entry["MESSAGE"] for entry in service.journal("SYSLOG_IDENTIFIER=python")]
        assert misses_and_hits in told
    assert service.machine.path("/var/cache/reeldrop/reeldrop-compiled/fxgraph").is_dir()


def test_a_drop_in_allows_the_download(service: Service) -> None:
    """With it, there is a network, and nothing else is allowed in addition."""
    before = probed(service)
    drop_ins = f"{DROP_INS}/{service.unit}.d"
    file = "/opt/reeldrop/allow-download.conf"
    service.machine.run("install", "-D", "-m", "644", file, "-t", drop_ins)
    found = probed(service)
    assert ("", "0") == (found["internet"], found["offline"])
    changed = {key for key in before if before[key] != found[key]}
    assert {"internet", "offline", "network"} == changed
    assert found["network"] == network_of(service.machine)


def test_folders_elsewhere(service: Service) -> None:
    """The drop-ins of the operator's page give access to other folders, even below /home."""
    elsewhere, at_home = drop_ins_of_the_page(service.machine)
    for name, drop_in in (("mnt/films", elsewhere), ("home/ann/films", at_home)):
        place = service.machine.path(f"/{name}")
        for folder in ("inbox", "results", "spool"):
            (place / folder).mkdir(parents=True)
        service.machine.run("chown", "--recursive", "reeldrop:", f"/{name}")
        service.drop_in("elsewhere", drop_in)
        service.drop_in("probe", PROBE.replace("/srv/reeldrop", f"/{name}"))
        service.systemctl("start")
        found = json.loads((place / "spool/found.json").read_text())
        assert {""} == {found["rename"], *found["allowed"].values()}
        places = ("/", "/etc", "/home/ann", "/opt/reeldrop", "/srv/another")
        assert "" not in [found["forbidden"][place] for place in places]


def drop_ins_of_the_page(machine: Machine) -> tuple[str, str]:
    """Return the drop-ins of the operator's page for folders elsewhere."""
    page = machine.path("/opt/reeldrop/docs/operations.md")
    first, second = pages.blocks(page, "Folders elsewhere")
    return first.text, second.text


# Several


def test_an_instance_has_a_config_and_folders_of_its_own(machine: Machine) -> None:
    """The commands of the operator's page for several GPUs work unchanged."""
    script = pages.blocks(machine.path("/opt/reeldrop/docs/operations.md"), "Several GPUs")[0]
    Service(machine).configure()
    service = Service(machine, "reeldrop@gpu1.service", "/srv/reeldrop/gpu1")
    machine.run("systemctl", "stop", UNIT)
    machine.path(f"{DROP_INS}/reeldrop@.service.d").mkdir(parents=True)
    machine.path(f"{DROP_INS}/reeldrop@.service.d/for-tests.conf").write_text(FOR_TESTS)
    machine.run("systemctl", "daemon-reload")
    machine.run("sh", "-euc", script.text)
    environment = machine.path(f"/proc/{service.show('MainPID')}/environ").read_bytes()
    assert b"CUDA_VISIBLE_DEVICES=1" in environment.split(b"\0")
    service.drop("one.txt", "a boat\n")
    service.await_files("one/a_boat.mp4")
    service.systemctl("stop")


# Without it, and beside it


def test_uninstall_keeps_what_people_made(machine: Machine) -> None:
    """The service is stopped and removed; prompt files, videos and config stay."""
    for unit in SYSTEM_UNITS:
        drop_ins = machine.path(f"/run/systemd/system/{unit}.d")
        shutil.rmtree(drop_ins, ignore_errors=True)  # those of the tests before
        drop_ins.mkdir(parents=True)
        (drop_ins / "idle.conf").write_text(IDLE)
    machine.path("/srv/reeldrop/gpu1").mkdir(exist_ok=True)
    machine.run("systemctl", "daemon-reload")
    units = ("reeldrop", "reeldrop@gpu1")
    machine.run("systemctl", "enable", "--now", *units)
    assert ["active"] * 2 == [machine.show(unit, "ActiveState")["ActiveState"] for unit in units]
    machine.path("/srv/reeldrop/inbox/a.txt").write_text("a boat\n")
    machine.make("uninstall")
    assert "a boat\n" == machine.path("/srv/reeldrop/inbox/a.txt").read_text()
    assert machine.path("/etc/reeldrop/config.yaml").exists()
    found = [machine.show(unit, "LoadState", "ActiveState") for unit in units]
    assert [{"LoadState": "not-found", "ActiveState": "inactive"}] * 2 == found
    wanted = machine.path("/etc/systemd/system/multi-user.target.wants")
    assert [] == [path.name for path in wanted.glob("reeldrop*")]
    assert not machine.path("/opt/reeldrop").exists()


def test_a_persons_own_service(machine: Machine) -> None:
    """`make install-user` needs no root; the service renders its owner's files."""
    uid = machine.run("id", "--user", "ann").stdout.strip()
    person = ("setpriv", "--reuid=ann", "--regid=ann", "--init-groups")
    own = {"HOME": "/home/ann", "XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    machine.run("loginctl", "enable-linger", "ann")
    manager = f"user@{uid}.service"
    machine.await_that(
        lambda: machine.show(manager, "ActiveState")["ActiveState"] == "active", manager
    )
    machine.install_for(person, **own)
    folder = machine.path("/home/ann/.config/systemd/user/reeldrop.service.d")
    folder.mkdir()
    library = f"LD_LIBRARY_PATH={PYTHON}/lib OMP_NUM_THREADS=1"
    (folder / "for-tests.conf").write_text(f"[Service]\nEnvironment={library}\n")

    unit = "/home/ann/.config/systemd/user/reeldrop.service"
    verified = machine.run(*person, "systemd-analyze", "--user", "verify", unit, **own)
    assert ("", "") == (verified.stdout, verified.stderr)
    machine.run(*person, "systemctl", "--user", "enable", "--now", "reeldrop", **own)
    drop = "echo 'a red ball' >~/reeldrop/inbox/one.txt"
    machine.run(*person, "sh", "-c", drop, **own)
    video = machine.path("/home/ann/reeldrop/results/one/a_red_ball.mp4")
    machine.await_that(video.exists, "the video")
    journal = machine.run(*person, "journalctl", "--user-unit=reeldrop", "EVENT=ready", **own)
    assert "ready: inbox=/home/ann/reeldrop/inbox" in journal.stdout

    machine.make("uninstall-user", *person, **own)
    assert not machine.path("/home/ann/.local/share/reeldrop").exists()
    assert machine.path("/home/ann/.config/reeldrop/config.yaml").exists()
    assert video.exists()
