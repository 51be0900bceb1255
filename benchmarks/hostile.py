"""Attack a daemon with hostile authors for twenty minutes, and check that it harms nobody.

Real daemons run with a tiny pipeline of a real class, one as root and one as a service user,
each with an inbox, a spool and results of its own. Several hostile authors, each with a user id of
its own, do what `hostile_roles.py` lists, and one author drops good files. An operator runs
commands as root, removes the lock, and fills the disk for a moment. Each good file has to be
rendered within a time limit; output must not contain forged facts; nothing outside inbox, spool and
results may be changed or disclosed; memory has to stay near that of an empty run.

The inbox is a share of mode 3777 with the service's group: everybody may create files, and nobody
may rename another's, except in one folder of mode 0777. The results have mode 1777. Quotas were not
available: a limit on file sizes, and a disk that is full for a moment, stand in for a full one.
Needs root; the mounts are invisible to other processes.

    python benchmarks/hostile.py --minutes 20
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.fakes import save_tiny_pipeline
from harness.watched_daemon import memory
from harness.zygote import Zygote
from hostile_author import Order
from hostile_count import BOUND_SECONDS, Count, Reckoning, Tally, forged_row, hidden_harm
from hostile_site import (
    FIRST_UID,
    GOOD_UID,
    SERVICE_UID,
    Site,
    alone,
    disk,
    keep,
    let_everybody_read,
    snapshot,
    walk,
)
from io_faults import is_alive, wait_until
from reeldrop.base.names import ERROR_SUFFIX, NOTE_SUFFIX
from reeldrop.prompts.parsing import SUFFIXES
from reeldrop.store import status

MEMORY_MIB = 300.0
"""How much the daemon's peak memory may exceed that of an empty run."""

COMMAND_SECONDS = 20.0
"""How long a command may take, on a machine with other work."""

SILENCE_SECONDS = 20.0
"""How old the daemon's status may become, except while the disk is full."""

DRAIN_SECONDS = 600.0

GOOD_PAUSE_SECONDS = 4.0
"""Seconds between two good files: slower than a daemon renders one author's.

A good file then waits for the hostile authors only, not for the good author's own queue.
"""

READY = b'"event": "ready"'


@dataclass
class Command:
    """A running command."""

    name: str
    pid: int
    began: float


def cast(site: Site, options: argparse.Namespace) -> list[Order]:
    """Return all authors: hostile ones, two with a single attack, and a good one."""
    seeds, numbers, pause = options.seed * 100, range(2, options.authors + 1), options.pause
    return [
        site.author("hostile", "h1", FIRST_UID, seeds + 1, pause, is_heavy=True),
        *(site.author("hostile", f"h{n}", FIRST_UID + n - 1, seeds + n, pause) for n in numbers),
        site.author("swapping", "s1", FIRST_UID, seeds + 97, pause),
        site.author("touching", "t1", FIRST_UID + 1, seeds + 98, pause),
        site.author("good", "good", GOOD_UID, seeds + 99, options.good_pause),
    ]


def let_loose(order: Order, site: Site) -> subprocess.Popen[str]:
    """Start an author's process."""
    command = [sys.executable, str(Path(__file__).with_name("hostile_roles.py"))]
    with site.beside("authors.log").open("a") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, cwd="/"
        )
    assert process.stdin is not None
    process.stdin.write(order.line())
    process.stdin.close()
    return process


class Siege:
    """One daemon, the authors who write into its inbox, and its operator."""

    def __init__(self, site: Site, authors: list[Order], minutes: float, seed: int) -> None:
        self.site = site
        self.tally = Tally()
        self._end = minutes * 60
        self._dice = random.Random(seed)
        self._authors = authors
        self._daemon = 0
        self._peak = 0.0
        self._command: Command | None = None
        self._next: dict[str, float] = {}

    # The phases

    def run(self) -> Siege:
        """Start, let the authors work, drain, and count."""
        empty = self._empty_run()
        self._start_daemon()
        self._break_in()
        before = snapshot(self.site)
        processes = [let_loose(order, self.site) for order in self._authors]
        self._hold_out(time.monotonic() + self._end)
        for process in processes:
            self.tally.count.author_ends += process.poll() is not None
            process.kill()
            process.wait()
        self._await_the_good()
        self._stop_daemon()
        self.tally.count.memory_mib = round(self._peak - empty, 1)
        self.tally.count.too_much_memory = int(self.tally.count.memory_mib > MEMORY_MIB)
        self._drain()
        Reckoning(self.site, self.tally).reckon(before)
        return self

    def _empty_run(self) -> float:
        """Return the peak memory of an idle daemon in MiB."""
        self._start_daemon()
        time.sleep(2)
        peak = memory(self._daemon)["VmHWM"] / 1024
        self._stop_daemon()
        self._peak = 0.0
        return peak

    def _start_daemon(self) -> None:
        log = self.site.beside("daemon.log")
        log.touch()
        length = log.stat().st_size
        self._daemon = self.site.start("run")
        is_ready = wait_until(
            lambda: READY in log.read_bytes()[length:] or not is_alive(self._daemon), 120
        )
        if not is_ready or not is_alive(self._daemon):
            raise AssertionError(f"the daemon does not start, see {log}")

    def _stop_daemon(self) -> None:
        self._see_memory()
        os.kill(self._daemon, signal.SIGTERM)
        if not wait_until(lambda: not is_alive(self._daemon), 60):
            os.kill(self._daemon, signal.SIGKILL)
        code = self.site.zygote.wait(self._daemon)
        if code:
            self.tally.note("deaths", f"at its end: {code}")

    def _see_memory(self) -> None:
        with contextlib.suppress(OSError):
            self._peak = max(self._peak, memory(self._daemon).get("VmHWM", 0) / 1024)

    def _see_silence(self) -> None:
        """Record the age of the daemon's status, which grows while the daemon blocks."""
        with contextlib.suppress(OSError):
            written = (self.site.spool / status.FILE_NAME).stat().st_mtime
            silence, count = round(time.time() - written, 1), self.tally.count
            if silence > max(SILENCE_SECONDS, count.longest_silence):
                self.tally.note("silences", f"it said nothing for {silence} s")
            count.longest_silence = max(count.longest_silence, silence)

    def _break_in(self) -> None:
        """Have a good file rendered and a bad one refused, so that the folders of both exist."""
        inbox, results = self.site.inbox, self.site.results
        (inbox / "good" / "first.txt").write_text("first\n")
        (inbox / "good" / "bad.txt").write_text("# nothing\n")
        os.chown(inbox / "good" / "first.txt", GOOD_UID, self.site.uid)
        os.chown(inbox / "good" / "bad.txt", GOOD_UID, self.site.uid)
        through = wait_until(
            lambda: (
                (results / "good/first/first.txt").exists()
                and (self.site.failed / "good/bad.txt").exists()
            ),
            60,
        )
        assert through, f"nothing is rendered, see {self.site.beside('daemon.log')}"

    def _hold_out(self, end: float) -> None:
        self._next = {"command": time.monotonic() + 3, "operator": time.monotonic() + 20}
        while time.monotonic() < end:
            self._look()
            if self._is_due("operator", 30):
                self._dice.choice((self._remove_lock, self._fill_disk, self._make_device))()
            time.sleep(0.2)
        self._end_command()
        self._next = {}

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, now + 1):
            return False
        self._next[what] = now + seconds * self._dice.uniform(0.5, 1.5)
        return True

    def _look(self) -> None:
        """Record which good files are rendered; restart the daemon if it died."""
        self.tally.see(self.site)
        self._see_memory()
        self._see_silence()
        self._run_commands()
        if not is_alive(self._daemon):
            code = self.site.zygote.wait(self._daemon)
            self.tally.note("deaths", f"{code} at {time.strftime('%X')}")
            self._start_daemon()

    def _await_the_good(self) -> None:
        """Wait until each good file is rendered or exceeds its time limit."""

        def is_over() -> bool:
            self._look()
            late = time.time() - BOUND_SECONDS
            return all(g.wait is not None or g.dropped < late for g in self.tally.good.values())

        wait_until(is_over, BOUND_SECONDS + 10)

    # The operator

    def _run_commands(self) -> None:
        if self._command is not None:
            seconds = time.monotonic() - self._command.began
            if is_alive(self._command.pid) and seconds < COMMAND_SECONDS:
                return
            self._end_command()
        elif self._is_due("command", 4):
            name, arguments = self._choose_command()
            self.site.beside("command.log").write_bytes(b"")
            pid = self.site.start(*arguments, log="command.log", uid=0)
            self._command = Command(name, pid, time.monotonic())

    def _choose_command(self) -> tuple[str, tuple[str, ...]]:
        named = list(self._set_aside())
        choices: list[tuple[str, tuple[str, ...]]] = [
            ("status", ("status",)),
            ("status --json", ("status", "--json")),
            ("history", ("history", "--limit", "1000")),
            ("history --json", ("history", "--json", "--limit", "1000")),
            ("history --failed", ("history", "--failed", "--limit", "1000")),
            ("retry", ("retry", "--", *self._dice.sample(named, min(3, len(named))))),
        ]
        if self._dice.random() < 0.1:
            return "retry --all", ("retry", "--all")
        return self._dice.choice(choices)

    def _set_aside(self) -> Iterator[str]:
        """Yield the prompt files in `_failed/`."""
        for path, seen in walk(self.site.failed):
            is_report = path.endswith((ERROR_SUFFIX, NOTE_SUFFIX))
            if Path(path).suffix in SUFFIXES and stat.S_ISREG(seen.st_mode) and not is_report:
                yield path

    def _end_command(self) -> None:
        """Wait for the running command, and check its time, exit code and output."""
        if self._command is None:
            return
        command, self._command = self._command, None
        wait_until(lambda: not is_alive(command.pid), COMMAND_SECONDS)
        seconds = time.monotonic() - command.began
        if is_alive(command.pid):
            os.kill(command.pid, signal.SIGKILL)
        code = self.site.zygote.wait(command.pid)
        said = self.site.beside("command.log").read_bytes().decode(errors="surrogateescape")
        self.tally.count.commands += 1
        self.tally.count.slowest_command = round(max(self.tally.count.slowest_command, seconds), 1)
        wrong = forged_row(command.name, said) or hidden_harm(said)
        if seconds > COMMAND_SECONDS:
            wrong = f"it took {seconds:.0f} s"
        elif "Traceback" in said or not (code in (0, 2, 75) or "can't be put back" in said):
            wrong = f"it ended with {code}: {said[-300:]!r}"
        if wrong:
            self.tally.note("bad_commands", f"{command.name}: {wrong}")

    def _remove_lock(self) -> None:
        """Delete the lock file, as a cleanup may; a second daemon must still be refused."""
        (self.site.spool / "lock").unlink(missing_ok=True)
        pid = self.site.start("run", "--drain", log="second.log")
        self._until(lambda: not is_alive(pid), 20)
        is_in = is_alive(pid)
        if is_in:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(pid), 60)
        code = self.site.zygote.wait(pid)
        if is_in or code != 75:
            self.tally.note("second_daemons", f"the second daemon ended with {code}")

    def _fill_disk(self) -> None:
        """Fill the disk for some seconds."""
        if not os.path.ismount(self.site.folder):
            return
        filler = self.site.folder / "site" / "spool" / ".filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            room = os.statvfs(filler)
            os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - 4096))
        self._until(lambda: False, 3)
        filler.unlink()

    def _make_device(self) -> None:
        """Make a device file in the inbox, as only root can."""
        with contextlib.suppress(FileExistsError):
            device = self.site.inbox / f"device{self._dice.randrange(100)}.txt"
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Keep calling `_look` until a condition holds, for at most `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            self._look()
            time.sleep(0.2)

    # The end

    def _drain(self) -> None:
        began = time.monotonic()
        pid = self.site.start("run", "--drain", log="drain.log")
        wait_until(lambda: not is_alive(pid), DRAIN_SECONDS)
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        code = self.site.zygote.wait(pid)
        self.tally.count.drain_seconds = round(time.monotonic() - began, 1)
        if code not in (0, 1):
            self.tally.note(
                "bad_drains", f"it ended with {code}, see {self.site.beside('drain.log')}"
            )


# The benchmark


def besiege(base: Path, modes: list[str], options: argparse.Namespace) -> dict[str, Siege]:
    """Run a siege for each mode, in parallel."""
    base.chmod(0o755)
    alone()
    let_everybody_read(Path(sys.base_prefix), base / "python")
    pipeline, zygote = save_tiny_pipeline(base / "tiny"), Zygote()
    subprocess.run(["chmod", "--recursive", "a+rX", str(pipeline)], check=True)
    with contextlib.ExitStack() as stack:
        sieges = {}
        for mode in modes:
            folder = stack.enter_context(disk(base / mode))
            site = Site.make(folder, 0 if mode == "root" else SERVICE_UID, pipeline, zygote)
            authors = cast(site, options)
            sieges[mode] = Siege(site, authors, options.minutes, options.seed)
        with ThreadPoolExecutor(len(sieges)) as threads:
            list(threads.map(Siege.run, sieges.values()))
        for mode, siege in sieges.items():
            if siege.tally.count.harm():
                keep(base / mode)
        zygote.close()
    return sieges


def table(sieges: dict[str, Siege]) -> str:
    """Return a table of the counts, then one of the outcomes of each kind of attack."""
    rows = [f"{'':20}" + "".join(f"{mode:>12}" for mode in sieges)]
    for name in asdict(Count()):
        values = "".join(f"{getattr(s.tally.count, name):12}" for s in sieges.values())
        rows.append(f"{name.replace('_', ' '):20}{values}")
    for mode, siege in sieges.items():
        columns = ("rendered", "refused", "waiting", "withdrawn", "spool", "lost")
        rows += ["", f"{mode:20}" + "".join(f"{name:>12}" for name in columns)]
        for kind, counter in sorted(siege.tally.outcomes.items()):
            rows.append(f"{kind:20}" + "".join(f"{counter[name]:12}" for name in columns))
    return "\n".join(rows)


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as", dest="mode", choices=("root", "user", "both"), default="both")
    parser.add_argument("--authors", type=int, default=3, help="hostile ones, besides two more")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two deeds of one")
    parser.add_argument(
        "--good-pause",
        type=float,
        default=GOOD_PAUSE_SECONDS,
        help="seconds between two good files",
    )
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-hostile-"))
    modes = ["root", "user"] if options.mode == "both" else [options.mode]
    sieges = besiege(base, modes, options)
    print(table(sieges))
    print(json.dumps({mode: asdict(siege.tally.count) for mode, siege in sieges.items()}))
    for mode, siege in sieges.items():
        for problem in siege.tally.problems:
            print(f"{mode}: {problem}", file=sys.stderr)
    if any(siege.tally.count.harm() for siege in sieges.values()):
        sys.exit(f"the files are in {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
