"""What the kernel tells is read as it is meant, whatever names strangers have given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reeldrop.base import proc
from reeldrop.base.proc import Mounted

ENDS = "\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
"""What Python, but not the kernel, takes for the end of a line."""

MOUNTED = """
import json, os, subprocess, sys
from pathlib import Path
from reeldrop.base.roots import Root
from reeldrop.intake import share

top, name = map(Path, sys.argv[1:])

def mount(kind, point):
    point.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *kind, point], check=True)

mount(["-t", "tmpfs", "none"], top / name)
mount(["-t", "ramfs", "none"], top / f"inbox{name}")
mount(["--bind", top / f"inbox{name}"], top / "other")
folder = top / f"inbox{name}" / f"{name}{top}/inbox"
folder.mkdir(parents=True)
mount(["--bind", folder], top / "another")
mount(["-t", "tmpfs", "none"], top / "inbox")
root = Root(top / "inbox")
with root.opened():
    kinds = [share.file_system(top / place) for place in ("inbox", name, "other", f"inbox{name}")]
subprocess.run(["umount", top / "inbox"], check=True)
try:
    root.check()
except OSError as error:
    kinds.append(error.strerror)
print(json.dumps([*kinds, share.file_system(top / "inbox") == share.file_system(top)]))
"""


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("end", [*ENDS, " ", "\n", "\\012", " - "])
def test_a_mount_may_have_any_name(end: str, tmp_path: Path) -> None:
    """Roots and kinds of file systems are found beside mounts with any character in their names."""
    namespace = ("unshare", "--mount", "--propagation", "private")
    command = (*namespace, sys.executable, "-c", MOUNTED, str(tmp_path), f"a{end}b")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "" == done.stderr
    *kinds, gone, is_above = json.loads(done.stdout)
    assert ["tmpfs", "tmpfs", "ramfs", "ramfs"] == kinds
    assert gone.startswith("another folder is in its place")
    assert is_above


def test_a_line_that_is_too_short_is_none(tmp_path: Path) -> None:
    """A kernel or container that shows less in a line hides only that mount."""
    file = tmp_path / "mountinfo"
    whole = r"36 35 98:0 /a\040b /c\011\134 rw shared:1 - ext4 /dev/sda rw"
    file.write_text(f"1\n1 2 3 4\n36 35 98:0 / /c rw\n36 35 98:0 / /c rw - ext4\n\n{whole}\n")
    assert [Mounted("36", "/a b", "/c\t\\", "ext4", "/dev/sda")] == list(proc.mounts(file))
