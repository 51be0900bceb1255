"""`make install` and what it installs: complete, valid for systemd, and removable."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import real_systemd
from harness.real_systemd import PYTHON, Machine

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SYSTEM_UNITS = ("reeldrop.service", "reeldrop@.service", "reeldrop-notify.service")

INSTALLED = {
    "etc/reeldrop/config.yaml",
    "opt/reeldrop/allow-download.conf",
    "opt/reeldrop/cluster.conf",
    "opt/reeldrop/docs/cluster.md",
    "opt/reeldrop/docs/commands.md",
    "opt/reeldrop/docs/comparison.png",
    "opt/reeldrop/docs/gallery.png",
    "opt/reeldrop/docs/languages.md",
    "opt/reeldrop/docs/models.md",
    "opt/reeldrop/docs/monitoring/alerts.yml",
    "opt/reeldrop/docs/monitoring/dashboard.json",
    "opt/reeldrop/docs/operations.md",
    "opt/reeldrop/docs/prompt-files.md",
    "opt/reeldrop/docs/sync.md",
    "opt/reeldrop/reeldrop-ray.service",
    "usr/local/bin/reeldrop",
    "usr/local/lib/systemd/system/reeldrop-notify.service",
    "usr/local/lib/systemd/system/reeldrop.service",
    "usr/local/lib/systemd/system/reeldrop.service.d/back-off.conf",
    "usr/local/lib/systemd/system/reeldrop@.service",
    "usr/local/lib/systemd/system/reeldrop@.service.d/back-off.conf",
    "usr/local/lib/sysusers.d/reeldrop.conf",
    "usr/local/lib/tmpfiles.d/reeldrop.conf",
}
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


# Under DESTDIR, as a package is made


def make(target: str, destination: Path, **environment: str) -> None:
    """Run a make target for a place that is not the root."""
    command = ("make", f"--directory={ROOT}", target, f"PYTHON={sys.executable}")
    done = subprocess.run(
        [*command, f"DESTDIR={destination}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files(folder: Path) -> set[str]:
    """Return the files below a folder, without those of the environment."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    links = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
    return {name for name in found | links if "/.venv/" not in name}


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which reeldrop was installed."""
    folder = tmp_path_factory.mktemp("packaged")
    environment = real_systemd.offline_pip(tmp_path_factory.mktemp("pip") / "build")
    make("install", folder / "root", SYSTEMD_VERSION="254", **environment)
    return folder / "root"


def test_all_is_below_destdir(packaged: Path) -> None:
    """All files are there as in the repository; the command is a link to the final place."""
    assert INSTALLED == files(packaged)
    below = packaged / "usr/local/lib"
    for name in SYSTEM_UNITS:
        assert (UNITS / name).read_text() == (below / "systemd/system" / name).read_text()
    assert "/opt/reeldrop/.venv/bin/reeldrop" == os.readlink(packaged / "usr/local/bin/reeldrop")


def test_links_of_the_pages_lead_somewhere(packaged: Path) -> None:
    """Each page and picture that an installed page links to is installed, too."""
    for page in (packaged / "opt/reeldrop/docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page.name, link)


def test_the_environment_is_made_for_its_final_place(packaged: Path) -> None:
    """No script in it has the path of the folder that it was packaged in."""
    environment = packaged / "opt/reeldrop/.venv"
    scripts = [path for path in (environment / "bin").iterdir() if not path.is_symlink()]
    for path in (*scripts, environment / "pyvenv.cfg"):
        assert str(packaged) not in path.read_text()
    first = (environment / "bin/reeldrop").read_text().splitlines()[0]
    assert "#!/opt/reeldrop/.venv/bin/python" == first.rstrip("0123456789.")
    assert (
        len(list(environment.glob("lib/python3*/site-packages/reeldrop/service/service.py"))) == 1
    )


def test_the_config_has_absolute_folders(packaged: Path) -> None:
    """It is the shipped one, with the service's folders."""
    text = (packaged / "etc/reeldrop/config.yaml").read_text()
    for name in ("inbox", "results", "spool", "failed"):
        assert f"\n{name}: /srv/reeldrop/" in text
    assert (ROOT / "config.yaml").read_text() == text.replace("/srv/reeldrop/", "")


@pytest.mark.parametrize("target", ["install", "install-user"])
@pytest.mark.parametrize(("version", "is_added"), [("", False), ("253", False), ("254", True)])
def test_it_waits_longer_each_time_where_systemd_can(
    target: str, version: str, is_added: bool
) -> None:
    """Older versions would warn of the drop-in at each start."""
    command = ("make", f"--directory={ROOT}", "--dry-run", target, "DESTDIR=/nowhere")
    done = subprocess.run(
        [*command, f"SYSTEMD_VERSION={version}"], capture_output=True, text=True, check=True
    )
    steps = [line for line in done.stdout.splitlines() if "back-off.conf" in line]
    conditions = {line.partition(" || ")[0] for line in steps}
    results = [subprocess.run(["sh", "-c", one], check=False).returncode for one in conditions]
    assert [int(is_added)] == results


def test_nothing_is_left_in_the_source(packaged: Path) -> None:
    """A build in the source would be part of the next one."""
    assert packaged.exists()
    assert not (ROOT / "build").exists()


def test_what_an_operator_has_is_kept(packaged: Path, tmp_path: Path) -> None:
    """An upgrade keeps config.yaml; uninstall removes only what was installed."""
    root = tmp_path / "root"
    shutil.copytree(packaged, root, symlinks=True)
    config = root / "etc/reeldrop/config.yaml"
    config.write_text("model: bundled\n")
    own = {"srv/reeldrop/inbox/a.txt", "srv/reeldrop/results/a/a.mp4", "opt/reeldrop/notes.txt"}
    for name in own:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    environment = real_systemd.offline_pip(tmp_path / "build")
    make("install", root, SYSTEMD_VERSION="254", **environment)
    assert "model: bundled\n" == config.read_text()
    make("uninstall", root)
    make("uninstall", root)
    assert {*own, "etc/reeldrop/config.yaml"} == files(root)
    assert not (root / "opt/reeldrop/.venv").exists()


# The units


def directives(path: Path) -> list[str]:
    """Return the lines of a unit without comments and blank lines."""
    lines = path.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_instances_differ_in_their_names_only() -> None:
    """A change of one unit must also be made in the other."""
    one, many = (directives(UNITS / name) for name in SYSTEM_UNITS[:2])
    assert ["EnvironmentFile=-/etc/reeldrop/%i.env"] == [
        line for line in many if line.startswith("EnvironmentFile=")
    ]
    assert one == [
        line.replace(" (%i)", "")
        .replace("/%i.yaml", "/config.yaml")
        .replace("reeldrop/%i", "reeldrop")
        for line in many
        if not line.startswith("EnvironmentFile=")
    ]


def test_the_watchdog_is_slower_than_reeldrop_itself() -> None:
    """A hung render is ended by reeldrop, which says where; the watchdog can't."""
    from reeldrop.config.config import Config

    stall_seconds = Config.model_fields["stall_seconds"].default
    for name in (*SYSTEM_UNITS, "reeldrop-user.service"):
        (line,) = (line for line in directives(UNITS / name) if line.startswith("WatchdogSec="))
        assert 60 * int(line.removeprefix("WatchdogSec=").removesuffix("min")) > stall_seconds


# On a machine


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with reeldrop installed, and a person, ann."""
    real_systemd.require()
    with real_systemd.machine(tmp_path_factory.mktemp("machine")) as booted:
        booted.install()
        booted.run("useradd", "--create-home", "ann")
        yield booted


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


def test_uninstall_keeps_what_people_made(machine: Machine) -> None:
    """The service is stopped and removed; prompt files, videos and config stay."""
    for unit in SYSTEM_UNITS:
        drop_ins = machine.path(f"/run/systemd/system/{unit}.d")
        drop_ins.mkdir(parents=True)
        (drop_ins / "idle.conf").write_text(IDLE)
    machine.path("/srv/reeldrop/gpu1").mkdir()
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
