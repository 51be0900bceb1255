"""Run commands on a real NFS: server and client are both in one User-mode Linux.

User-mode Linux has the modules that the host's kernel may lack. Its root is in memory; it sees the
host's files, but has /proc, /sys, /run, /etc, /srv and /export of its own, /etc as a copy. Run as a
program, this becomes its PID 1.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = ("linux.uml", "mount.nfs4", "rpc.nfsd", "rpc.mountd", "exportfs", "ip")
DEADLINE_SECONDS = 600.0

_MODULES = Path("/usr/lib/uml/modules")
_ENDED = "it ended with "
_OWN = ("proc", "sys", "run", "etc", "srv", "export")
_POWER_OFF = 0x4321FEDC


def run(
    folder: Path, exports: str, fstab: str, command: Sequence[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine that can mount its own exports under the names `nas` and `server`.

    folder: an empty one.
    exports, fstab: the lines of /etc/exports and /etc/fstab.

    Returns the command's exit code; 1 if the machine failed before.
    """
    (folder / "root").mkdir()
    (folder / "exports").write_text(exports)
    (folder / "fstab").write_text(fstab)
    init = folder / "init"
    init.write_text(f"#!/bin/sh\nexec {sys.executable} {__file__} {folder} {' '.join(command)}\n")
    init.chmod(0o755)
    for name, value in environment.items():
        (folder / f"{name}.env").write_text(value)
    options = ("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet")
    done = subprocess.run(
        ["linux.uml", "mem=3G", *options, "con=null", "con0=fd:0,fd:1", f"init={init}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    _, _, code = done.stdout.rpartition(_ENDED)
    done.returncode = int(code.split()[0]) if code else 1
    return done


# Inside the machine


def _main(folder: Path, command: Sequence[str]) -> None:
    """Set the machine up, run the command, and power off."""
    environment = {path.stem: path.read_text() for path in folder.glob("*.env")}
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    code = 1
    try:
        _enter(folder / "root")
        shutil.copy(folder / "exports", "/etc/exports")
        shutil.copy(folder / "fstab", "/etc/fstab")
        Path("/etc/hosts").write_text("127.0.0.1 localhost\n127.0.0.1 nas server\n")
        _serve()
        code = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
    finally:
        print(f"{_ENDED}{code}", flush=True)
        os.sync()
        ctypes.CDLL(None).reboot(_POWER_OFF)


def _enter(root: Path) -> None:
    """Make a root in memory with the host's files, and change into it."""
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "none", root)
    for path in Path("/").iterdir():
        there = root / path.name
        if path.is_symlink():
            there.symlink_to(os.readlink(path))
        elif path.is_dir():
            there.mkdir()
            if path.name not in _OWN:
                _do("mount", "--bind", path, there)
    shutil.copytree("/etc", root / "etc", symlinks=True, dirs_exist_ok=True)
    os.chroot(root)
    os.chdir("/")
    _do("mount", "-t", "proc", "none", "/proc")
    _do("mount", "-t", "sysfs", "none", "/sys")
    for folder in ("/run", "/dev/shm", "/var/lib/nfs"):
        Path(folder).mkdir(exist_ok=True)
        _do("mount", "-t", "tmpfs", "none", folder)
    _do("ip", "link", "set", "lo", "up")


def _serve() -> None:
    """Start the kernel's NFS server with /etc/exports."""
    for name in ("nfsv4", "nfsd"):
        _load(name)
    for folder in ("rpc_pipefs", "v4recovery"):
        Path("/var/lib/nfs", folder).mkdir()
    for file in ("etab", "rmtab"):
        Path("/var/lib/nfs", file).touch()
    _do("mount", "-t", "nfsd", "none", "/proc/fs/nfsd")
    _do("rpc.nfsd", "--no-nfs-version", "3", "2")
    Path("/proc/fs/nfsd/v4_end_grace").write_text("Y")
    _do("rpc.mountd", "--no-nfs-version", "3")


def _load(name: str) -> None:
    """Load a kernel module after its dependencies."""
    (modules,) = _MODULES.iterdir()
    needs = dict(_dependencies(modules / "modules.dep"))
    (path,) = (path for path in needs if path.endswith(f"/{name}.ko"))
    finit_module, library = 313, ctypes.CDLL(None)
    for module in (*reversed(needs[path]), path):
        with (modules / module).open("rb") as file:  # fails if it is loaded already
            library.syscall(finit_module, file.fileno(), b"", 0)


def _dependencies(file: Path) -> Iterator[tuple[str, list[str]]]:
    for line in file.read_text().splitlines():
        path, _, needed = line.partition(":")
        yield path, needed.split()


def _do(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
