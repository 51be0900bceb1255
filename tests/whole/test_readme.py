"""The README is true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness import pages
from harness.processes import await_that
from harness.site import Daemon, Site

ROOT = Path(__file__).parents[2]


def blocks() -> list[str]:
    """Return the README's indented blocks, unindented."""
    return [block.text.removesuffix("\n") for block in pages.blocks(ROOT / "README.md")]


def block_with(text: str) -> str:
    """Return the only block that contains a text."""
    found = [block for block in blocks() if text in block]
    assert len(found) == 1, f"{text!r} is in {len(found)} blocks of the README"
    return found[0]


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    """Under 120 lines; `make run` and `make test` come first."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 120
    commands = [line.split("#")[0].strip() for line in blocks()[0].splitlines()]
    assert commands == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{command.split()[1]}:" in makefile for command in commands)


def test_make_run_ends_with_what_there_is_and_how_to_look_at_it(tmp_path: Path) -> None:
    """Also if some examples failed; the daemon itself is tested elsewhere."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = tmp_path / ".venv/bin/reeldrop"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/bin/sh\nmkdir -p results/examples/a && cd results/examples/a && touch "
        "1.mp4 1.jpg 2.mp4 2.gif && exit 1\n"
    )
    command.chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # with which it would tell of its folder
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    ended = subprocess.run(
        ["make", "run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    first, second, third, fourth = ended.stdout.splitlines()[-4:]
    assert first.startswith("2 videos in results/examples")
    assert "xdg-open results/index.html" in second
    assert third.endswith(".venv/bin/reeldrop history --limit 2")
    assert ".venv/bin/reeldrop history --failed" in fourth
    assert 2 == ended.returncode
    assert {p.name for p in (ROOT / "examples").glob("*.*")} == {
        p.name for p in (tmp_path / "inbox/examples").iterdir()
    }


def test_links_lead_somewhere() -> None:
    """Each file that the README and the docs link to exists."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page.name, link)


def test_the_examples_come_out_as_shown(site: Site, daemon: Callable[..., Daemon]) -> None:
    """Prompt files, results, error text and commands are as in the README."""
    dropped = [block for block in blocks() if block.startswith("# inbox/")]
    assert len(dropped) == 2
    for block in dropped:
        site.drop(block.splitlines()[0].removeprefix("# inbox/"), block + "\n")
    site.drop("wrong.yaml", "prompt: a cat\nnum_frame: 24\n")
    daemon()
    for line in block_with("results/surfing/").splitlines():
        await_that((site.folder / line.split()[0]).exists, line)
    poems = site.results / "poems" / "li_bai"
    await_that((poems / "li_bai.yaml").exists, "the other prompt file")
    assert 6 == len(list(poems.glob("*.mp4"))) == len(list(poems.glob("*.gif")))

    await_that((site.failed / "wrong.yaml").exists, "the wrong prompt file to be set aside")
    report = (site.failed / "wrong.yaml.error.txt").read_text()
    for line in block_with("What is wrong:").splitlines():
        assert line.removesuffix(" ...") in report

    for line in block_with("reeldrop submit").splitlines():
        command = shlex.split(line)
        assert command[0] == "reeldrop"
        assert 0 == site.command(*command[1:]).returncode, line
    assert (site.results / "A_red_balloon_over_the_sea").is_dir()
    await_that(lambda: (site.failed / "wrong.yaml").exists(), "the retried file to fail again")
