"""Boot a real systemd as PID 1 of a disposable machine: namespaces over the host's files.

Its root is an overlay of `/`: it sees the host's files, and keeps its own writes in memory. Run as
a program, this becomes that machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 180.0

SYSTEMD = "/lib/systemd/systemd"
TOOLS = (SYSTEMD, "dbus-daemon", "journalctl", "systemctl", "unshare", "nsenter", "mount", "make")

SOURCE = "/usr/local/src/reeldrop"
HARNESS = f"{SOURCE}/tests/harness"
PYTHON = "/opt/python"
LIBRARIES = "/opt/libraries"

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": f"{PYTHON}/lib",
    "OMP_NUM_THREADS": "1",
}

_PR_SET_PDEATHSIG = 1
_HALT = signal.SIGRTMIN + 3
_HIERARCHIES = ("unified", "systemd", "memory", "pids", "devices", "cpu")
_MASKED = (
    "console-getty.service",
    "dev-hugepages.mount",
    "getty.target",
    "proc-sys-fs-binfmt_misc.automount",
    "remote-fs.target",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journal-catalog-update.service",
    "systemd-modules-load.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
)
"""Units for devices and logins, which this machine doesn't have."""


def require() -> None:
    """End the test if no systemd can be booted."""
    # Here, because the program that becomes the machine needs no pytest.
    from harness.programs import lacks, needs, needs_root

    needs_root()
    needs(*TOOLS)
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        lacks("way to make namespaces")


OWN_LIBRARIES = Path(sysconfig.get_path("purelib"))


def offline_pip(folder: Path, libraries: Path = OWN_LIBRARIES) -> dict[str, str]:
    """Return the environment for pip to install a package offline, without its dependencies.

    It is built with the setuptools of the running tests, which is linked into the new `folder`.
    """
    folder.mkdir()
    for path in OWN_LIBRARIES.glob("setuptools*"):
        (folder / path.name).symlink_to(libraries / path.name)
    return {
        "PYTHONPATH": str(folder),
        "PIP_NO_BUILD_ISOLATION": "0",  # for a `no` option, pip reads 0 as true
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }


class Machine:
    """A booted machine; while it runs, its files are below `root`."""

    def __init__(self, folder: Path, binds: Mapping[str, str]) -> None:
        """Boot the machine.

        folder: an empty one, for the machine's memory and the boot log.
        binds: folders of the host by their paths in the machine.
        """
        self._name = f"reeldrop-{os.getpid()}-{secrets.token_hex(3)}"
        self._log = folder / "boot.log"
        memory = folder / "memory"
        memory.mkdir()
        pairs = [f"{ours}:{theirs}" for theirs, ours in binds.items()]
        with self._log.open("w") as log:
            self._unshare = subprocess.Popen(
                [sys.executable, __file__, "outside", self._name, str(memory), *pairs],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._pid = self._wait_for_systemd()
            self.await_that(self._has_booted, "the end of the boot")
        except BaseException:
            self.halt()
            raise

    @property
    def pid(self) -> int:
        """The host's process id of the machine's PID 1."""
        return self._pid

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._pid}/root")

    def path(self, inside: str) -> Path:
        """Return the host's path of a file in the machine."""
        return self.root / inside.lstrip("/")

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._pid}", "--all", *command],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, **environment},
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit."""
        shown = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Return entries of the journal, the oldest first."""
        self.run("journalctl", "--sync")
        found = self.run("journalctl", "--all", "--output=json", "--no-pager", *arguments)
        return [json.loads(line) for line in found.stdout.splitlines()]

    def await_that(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; after DEADLINE_SECONDS, fail with the journal's end.

        The pause is longer than the check, which may start processes, to leave time on the
        processor for what is awaited.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            began = time.monotonic()
            if condition():
                return
            if time.monotonic() > deadline:
                said = self.run("journalctl", "--no-pager", "--lines=60", check=False).stdout
                raise AssertionError(f"waited in vain for {what}\n{said}")
            time.sleep(max(0.1, 8 * (time.monotonic() - began)))

    def halt(self) -> None:
        """End the machine with all of its processes, and remove its control groups."""
        with contextlib.suppress(AttributeError, ProcessLookupError):
            os.kill(self._pid, _HALT)
        try:
            self._unshare.wait(10)
        except subprocess.TimeoutExpired:
            self._unshare.kill()  # this ends all processes in its namespace
            self._unshare.wait()
        for cgroup in _cgroups(self._name):
            _remove_cgroup(cgroup)

    def _has_booted(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout
        return state in ("running\n", "degraded\n")

    def _wait_for_systemd(self) -> int:
        """Wait until the machine's PID 1 is systemd; return its process id on the host."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline and self._unshare.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                pid = int(children.read_text())
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return pid
            time.sleep(0.02)
        raise AssertionError(f"no systemd has begun: {self._log.read_text()}")

    def install(self) -> None:
        """Install reeldrop as an operator does, but with the tests' libraries."""
        self._install("install", "/opt/reeldrop/.venv")

    def install_for(self, person: Sequence[str], **environment: str) -> None:
        """Install reeldrop for a user; `person` is a command that runs another as that user."""
        home = environment["HOME"]
        self._install("install-user", f"{home}/.local/share/reeldrop/.venv", *person, **environment)

    def _install(self, target: str, venv: str, *command: str, **environment: str) -> None:
        build = self.path("/opt/build")
        pip = {**offline_pip(build, Path(LIBRARIES)), "PYTHONPATH": "/opt/build"}
        self.make(target, *command, **pip, **environment)
        (libraries,) = self.path(venv).glob("lib/python3*/site-packages")
        (libraries / "of_the_tests.pth").write_text(f"{LIBRARIES}\n")
        shutil.rmtree(build)

    def make(self, target: str, *command: str, **environment: str) -> None:
        """Make a target of the source's Makefile, as root or through `command`."""
        python = f"PYTHON={PYTHON}/bin/python3"
        self.run(*command, "make", f"--directory={SOURCE}", target, python, **environment)


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Boot a machine until the block ends; it sees the source and the tests' Python."""
    binds = {
        SOURCE: str(Path(__file__).parents[2]),
        PYTHON: sys.base_prefix,
        LIBRARIES: str(OWN_LIBRARIES),
    }
    booted = Machine(folder, binds)
    try:
        yield booted
    finally:
        booted.halt()


def connect(**machines: Machine) -> None:
    """Connect two machines by a network, on which they know each other by these names."""
    one, other = (str(machine.pid) for machine in machines.values())
    pair = ("type", "veth", "peer", "name", "cable", "netns", other)
    subprocess.run(["ip", "link", "add", "cable", "netns", one, *pair], check=True)
    addresses = {name: address(number) for number, name in enumerate(machines, 1)}
    known = "".join(f"{address} {name}\n" for name, address in addresses.items())
    for name, machine in machines.items():
        machine.run("hostname", name)
        machine.run("ip", "address", "add", f"{addresses[name]}/24", "brd", "+", "dev", "cable")
        machine.run("ip", "link", "set", "cable", "up")
        machine.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{known}")


def address(number: int) -> str:
    """Return the address of the first (1) or second (2) of two connected machines."""
    return f"192.0.2.{number}"


def _cgroups(name: str) -> list[Path]:
    """Return the folders of a machine's control groups, one for each hierarchy."""
    top = Path("/sys/fs/cgroup")
    split = [top / kind / name for kind in _HIERARCHIES if (top / kind).is_dir()]
    return split if (top / "unified").is_dir() else [top / name]


def _remove_cgroup(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


# The program: first outside, then in new namespaces, where it becomes systemd


def _outside(name: str, *arguments: str) -> None:
    """Enter new control groups, then new namespaces."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # die with the tests
    for cgroup in _cgroups(name):
        cgroup.mkdir()
        (cgroup / "cgroup.procs").write_text(f"{os.getpid()}\n")
    namespaces = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
    options = ("--fork", "--kill-child", "--propagation=private")
    program = (sys.executable, __file__, "inside", *arguments)
    os.execvp("unshare", ["unshare", *namespaces, *options, *program])


def _inside(memory: str, *binds: str) -> None:
    """Set up the root, and become its systemd."""
    root = _make_root(Path(memory))
    _mount_kernel(root)
    _mount_cgroups(root / "sys/fs/cgroup")
    for bind in binds:
        ours, _, theirs = bind.partition(":")
        target = root / theirs.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        _mount("--bind", ours, target)
        _mount("-o", "remount,bind,ro", target)
    old = root / ".old"
    old.mkdir()
    os.chdir(root)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    script = f"umount -l /.old && rmdir /.old && exec {SYSTEMD}"
    os.execve(
        "/bin/sh", ["sh", "-c", script], {"container": "unshare", "PATH": "/usr/sbin:/usr/bin"}
    )


def _make_root(memory: Path) -> Path:
    _mount("-t", "tmpfs", "-o", "mode=0700,size=2g", "tmpfs", memory)
    upper, work, root = (memory / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    _mount("-t", "overlay", "-o", options, "overlay", root)
    assert os.path.ismount(root)  # otherwise, the code below would change the host's files
    for name in ("etc/systemd/system", "etc/systemd/user", "etc/init.d", "var/log/journal"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("etc/reeldrop", "opt/reeldrop", "srv/reeldrop", "var/cache/reeldrop"):
        shutil.rmtree(root / name, ignore_errors=True)
    for level in range(7):
        shutil.rmtree(root / f"etc/rc{level}.d", ignore_errors=True)
    (root / "var/log/journal").mkdir(parents=True)
    (root / "etc/fstab").write_text("")
    (root / "etc/machine-id").write_text("")
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")
    return root


def _mount_kernel(root: Path) -> None:
    """Mount the machine's own /proc, /sys, /dev, /run and /tmp."""
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", root / "proc")
    _mount("--bind", root / "proc/sys", root / "proc/sys")
    _mount("-o", "remount,bind,ro", root / "proc/sys")
    _mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", root / "sys")
    dev = root / "dev"
    _mount("-t", "tmpfs", "-o", "nosuid,mode=755", "tmpfs", dev)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    (dev / "fd").symlink_to("/proc/self/fd")
    (dev / "ptmx").symlink_to("pts/ptmx")
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=620,gid=5", "devpts", dev / "pts")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", dev / "shm")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "run")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")


def _mount_cgroups(top: Path) -> None:
    here = Path("/sys/fs/cgroup")
    if not (here / "unified").is_dir():
        _mount("-t", "cgroup2", "cgroup2", top)
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", top)
    for kind in _HIERARCHIES:
        if not (here / kind).is_dir():
            continue
        (top / kind).mkdir()
        if kind == "unified":
            _mount("-t", "cgroup2", "cgroup2", top / kind)
        else:
            named = "none,name=systemd" if kind == "systemd" else kind
            _mount("-t", "cgroup", "-o", named, "cgroup", top / kind)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    {"outside": _outside, "inside": _inside}[sys.argv[1]](*sys.argv[2:])
