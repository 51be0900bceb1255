"""The tests' fork server: what it starts is like a new process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.processes import await_that, fork_server, run, start
from harness.zygote import REELDROP

SCRIPT = """\
import json, os, signal, sys
numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)
print(json.dumps({
    "arguments": sys.argv, "path": sys.path[0], "name": __name__, "folder": os.getcwd(),
    "environment": dict(os.environ), "files": sorted(os.listdir("/proc/self/fd")),
    "signals": [str(signal.getsignal(number)) for number in numbers],
    "streams": [str(os.fstat(number).st_ino) for number in range(3)],
}), flush=True)
print("a word", file=sys.stderr)
what = sys.argv[1]
if what == "raise":
    raise ValueError("wrong")
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "wait":
    signal.pause()
sys.exit({"text": "a text"}.get(what) or int(what))
"""


@pytest.mark.parametrize("what", ["0", "3", "text", "raise", "kill"])
def test_a_fork_is_what_a_new_process_would_be(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, folder, environment, streams, files, signals, output and exit code."""
    monkeypatch.setenv("REELDROP_CONFIG", "other")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), what, "é"]
    assert fork_server().can_run(command, os.environ)
    forked = run(command, cwd=tmp_path)
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        same = {"cwd": tmp_path, "env": {**os.environ}}
        done = subprocess.run(command, stdout=out, stderr=err, check=False, **same)
        assert done.returncode == forked.returncode
        out.seek(0)
        err.seek(0)
        ours, new = json.loads(forked.stdout or "{}"), json.loads(out.read() or "{}")
        streams = [one.pop("streams", [None])[0] for one in (ours, new)]
        assert new == ours
        assert streams[0] == streams[1]
        assert err.read().splitlines()[-1:] == forked.stderr.splitlines()[-1:]


def test_what_imports_read_makes_a_new_process_necessary() -> None:
    """Other variables don't."""
    changed = {**os.environ, "HOME": "/other", "COLUMNS": "70"}
    assert {"HOME"} == fork_server().changed(changed)
    assert not fork_server().can_run(REELDROP, changed)
    assert fork_server().can_run(REELDROP, {**changed, "HOME": os.environ["HOME"]})


def test_a_fork_is_waited_for_and_sent_signals_as_a_process_is(tmp_path: Path) -> None:
    """`poll` gives None while it runs, then always the code or the signal."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with (tmp_path / "out").open("w") as out:
        process = start([sys.executable, str(script), "wait"], stdout=out, stderr=out)
    await_that(lambda: "a word" in (tmp_path / "out").read_text(), "a word")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, 0)
    process.send_signal(signal.SIGTERM)
    assert -signal.SIGTERM == process.wait(60) == process.poll()
    process.kill()
