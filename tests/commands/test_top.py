"""`reeldrop top`: what it shows, what its keys do, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from harness.processes import DEADLINE_SECONDS, NEW_PROCESS, await_that, start
from harness.site import Daemon, Hold, Site
from harness.zygote import REELDROP
from reeldrop.commands import folders
from reeldrop.commands.top_hands import Looked
from reeldrop.commands.top_screen import Question, Top
from textual.pilot import Pilot

COLOURED = re.compile(rb"\x1b\[([0-9;]*;)?(3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")

Deed = Callable[["Screen"], Coroutine[Any, Any, None]]


class Screen:
    """The screen as a person sees and uses it."""

    def __init__(self, top: Top, pilot: Pilot[int]) -> None:
        self.top = top
        self._pilot = pilot

    def lines(self) -> list[str]:
        """Return the lines."""
        strips = self.top.screen._compositor.render_strips(self.top.screen.size)
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    async def shows(self, *texts: str, gone: str = "\0") -> None:
        """Wait until all texts are to be seen, and one is not."""
        deadline = time.monotonic() + DEADLINE_SECONDS / 4
        while not all(text in self.text() for text in texts) or gone in self.text():
            assert time.monotonic() < deadline, f"{texts}, not {gone!r}, in:\n{self.text()}"
            await self._pilot.pause(0.02)

    def text(self) -> str:
        return "\n".join(self.lines())

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def mark(self, name: str) -> None:
        """Move the mark to a file."""
        await self.press("home")
        for _ in range(20):
            row = self.top._marked()
            if row is not None and row.name == name:
                return
            await self.press("down")
        raise AssertionError(f"{name} is not in:\n{self.text()}")

    async def resize(self, width: int, height: int) -> None:
        await self._pilot.resize_terminal(width, height)
        await self._pilot.pause()


def use(site: Site, deed: Deed, size: tuple[int, int] = (80, 24)) -> None:
    """Run `top` on a site without a terminal, and do something with it."""

    async def run() -> None:
        top = Top(folders.load(site.folder))
        async with top.run_test(size=size, notifications=True) as pilot:
            await deed(Screen(top, pilot))

    asyncio.run(run())


def test_without_a_daemon_it_shows_and_changes_the_folders(site: Site) -> None:
    """Names and reasons are texts, whatever is in them, and keys do what their commands do."""
    site.drop("a [red]b[/red].txt", "a ball\n")
    site.drop("poems/c.txt", "a boat\n")
    site.drop("poems/with.yaml", "prompt: a\nimage: boat.png\n")
    site.drop("AGAIN/c.yaml", "prompt: a boat\nseed: 7\n")
    site.drop("[link=x].json", "{}")
    site.failed.mkdir(parents=True)
    (site.failed / "bad.txt").write_text("a cat\n")
    (site.failed / "bad.txt.error.txt").write_text("What is wrong:  [bold]no[/bold] such model\n")

    async def deed(screen: Screen) -> None:
        await screen.shows(
            "not running", "a [red]b[/red].txt", "WAITING: 4", "NOT TAKEN: 1", "[link=x].json",
            "FAILED: 1", "[bold]no[/bold] such model", "GB free, no model loaded", "q Quit",
        )  # fmt: skip
        await screen.press("p")
        await screen.shows("the daemon pauses")
        assert b"" == (site.inbox / "PAUSE").read_bytes()
        await screen.press("p")
        await screen.shows("the daemon goes on")
        assert not (site.inbox / "PAUSE").exists()

        await screen.mark("poems/with.yaml")
        await screen.press("n")
        await screen.shows("has pictures")
        await screen.mark("AGAIN/c.yaml")
        await screen.press("n")
        await screen.shows("would lose its new")
        assert "prompt: a boat\nseed: 7\n" == (site.inbox / "AGAIN/c.yaml").read_text()
        await screen.mark("poems/c.txt")
        await screen.press("n")
        await screen.shows("NOW/poems/c.txt  ")
        assert "a boat\n" == (site.inbox / "NOW/poems/c.txt").read_text()

        await screen.mark("a [red]b[/red].txt")
        await screen.press("c")
        await screen.shows("FAILED: 2")
        await screen.press("r")  # the mark is on a file that waits
        await screen.shows("choose a file under FAILED first")
        await screen.mark("bad.txt")
        await screen.press("r")
        await screen.shows("FAILED: 1", "WAITING: 4")
        assert "a cat\n" == (site.inbox / "bad.txt").read_text()

        await screen.press("slash", *"poEms")
        await screen.shows("WAITING with poEms: 2", gone="bad.txt  ")
        await screen.press("enter", "escape")
        await screen.shows("WAITING: 4", "bad.txt  ")
        await screen.resize(30, 10)
        assert all(len(line) <= 30 for line in screen.lines())
        await screen.press("q")

    use(site, deed)


def test_a_key_that_was_meant_for_a_file_that_has_left_does_nothing(site: Site) -> None:
    """Not to the file that the mark is on now; it says so, until the mark is moved."""
    for name in "abc":
        site.drop(f"{name}.txt", "a\n")

    async def deed(screen: Screen) -> None:
        await screen.shows("WAITING: 3")
        await screen.mark("b.txt")
        (site.inbox / "b.txt").unlink()
        await screen.press("p")  # it looks again at once
        await screen.shows("WAITING: 2")
        await screen.press("c")
        await screen.shows("b.txt has left the list; the mark is", "WAITING: 2")
        (site.inbox / "c.txt").unlink()
        await screen.press("p")
        await screen.shows("WAITING: 1")
        site.drop("d.txt", "a\n")
        await screen.press("p")
        await screen.shows("WAITING: 2")
        await screen.mark("d.txt")
        await screen.press("c")
        await screen.shows("WAITING: 1", "FAILED: 1")
        assert ["PAUSE", "a.txt"] == sorted(file.name for file in site.inbox.iterdir())
        site.drop("d.txt", "b\n")
        site.drop("e.txt", "b\n")
        await screen.press("p")
        await screen.shows("WAITING: 3")
        await screen.mark("d.txt")
        (site.inbox / "d.txt").unlink()  # that an earlier one was cancelled counts no more
        await screen.press("p")
        await screen.shows("WAITING: 2")
        await screen.press("c")
        await screen.shows("d.txt has left the list; the mark is", "WAITING: 2")
        await screen.press("q")

    use(site, deed)


def test_the_mark_goes_with_a_file_that_begins_to_be_rendered(
    site: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """So the first key is meant for it. What was seen when it ends is not shown any more."""
    hold = Hold(tmp_path / "hold")
    running = daemon(hold.program)
    running.wait_for("ready")
    hold.hold("a held ball")
    site.drop("PAUSE", "")

    async def deed(screen: Screen) -> None:
        await screen.shows("paused")
        site.drop("a.txt", "a held ball\n")
        await screen.shows("WAITING: 1")
        await screen.mark("a.txt")
        (site.inbox / "PAUSE").unlink()
        await screen.shows("RENDERING", "a.txt  video 1", gone="WAITING")
        await screen.press("c")
        await screen.shows("a.txt is being rendered. Cancel it?")
        await screen.press("n")
        seen = screen.top._seen
        assert seen is not None
        await screen.top.query("Screen > *").remove()
        screen.top.post_message(Looked(dataclasses.replace(seen, doubt="none")))
        screen.top.on_option_list_option_highlighted()
        await screen.press("q")

    use(site, deed)


def test_a_large_inbox_is_found_in_but_never_listed_whole(site: Site) -> None:
    """The list has the first of them, and how many there are."""
    for number in range(1200):
        site.drop(f"{number:04}.txt", "a\n")

    async def deed(screen: Screen) -> None:
        await screen.shows("WAITING: 1,200", "0000.txt")
        await screen.press("slash", "1")
        await screen.shows("WAITING with 1: more than 100", "0001.txt")
        await screen.press(*"19")
        await screen.shows("WAITING with 119: 12", "0119.txt", "1199.txt")
        await screen.press("escape", "end")
        await screen.shows("0099.txt")

    use(site, deed)


def test_it_follows_a_daemon_and_cancels_what_it_renders(
    site: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """It asks before that; previews are there as long as what they are of."""
    hold = Hold(tmp_path / "hold")
    site.configure("page: true")
    config = site.folder / "config.yaml"
    config.write_text(config.read_text().replace("max_batch_size: 2", "preview_steps: 1"))
    running = daemon(hold.program)
    running.wait_for("ready")
    hold.hold("a held ball")
    site.drop("one/[b]held.yaml", "prompt: 'a held ball [i]now'\nseed: [1, 2]\n")
    preview = site.results / "_page/preview.jpg"

    async def deed(screen: Screen) -> None:
        await screen.shows(
            "one/[b]held.yaml  video 1 of 2", "step 1 of 3", "a held ball [i]now", "tiny"
        )
        site.drop("later.txt", "a boat\n")
        await screen.shows("WAITING: 1", "later.txt")
        await asyncio.to_thread(await_that, preview.exists, "a preview")
        assert preview.read_bytes()[:2] == b"\xff\xd8"
        assert b"trainedAlgorithmicMedia" in preview.read_bytes()
        assert preview.stat().st_size <= 20_000
        told = site.results / "_page/data/status.js"
        with_it = lambda: '"has_preview":true' in told.read_text()  # noqa: E731
        await asyncio.to_thread(await_that, with_it, "the page to say so")

        await screen.mark("one/[b]held.yaml")
        await screen.press("c")
        await screen.shows("one/[b]held.yaml is being rendered. Cancel it?")
        assert isinstance(screen.top.screen, Question)
        await screen.press("n")
        await screen.shows("later.txt")
        await screen.press("c", "y")
        await screen.shows("FAILED: 1", "cancelled", gone="a held ball")
        running.process.kill()
        running.process.wait()
        await screen.shows("it was ended in the middle of its work")

    use(site, deed)
    hold.release()
    again = daemon()
    await_that(lambda: not preview.exists(), "the preview of a killed daemon to go")
    again.stop()


class Terminal:
    """A terminal in which `top` runs."""

    def __init__(self, site: Site, **environment: str) -> None:
        self.main, self.own = pty.openpty()
        self.before = termios.tcgetattr(self.own)
        self.written = b""
        environment = {**os.environ, "TERM": "xterm-256color", **environment}
        command = [*REELDROP, "top", "--config", str(site.folder)]
        self.process = start(command, self.own, self.own, self.own, env=environment)
        os.set_blocking(self.main, False)
        await_that(
            lambda: self._says(b"not running") or self.process.poll() is not None, "its view"
        )
        assert self._says(b"not running"), self.written

    def _says(self, text: bytes) -> bool:
        """Return whether a text was written by now."""
        with contextlib.suppress(BlockingIOError):
            self.written += os.read(self.main, 1 << 16)
        return text in self.written

    def type(self, keys: bytes) -> None:
        os.write(self.main, keys)

    def end(self) -> int:
        """Read until the process has ended, and return its exit code."""

        def has_ended() -> bool:
            self._says(b"")
            return self.process.poll() is not None

        await_that(has_ended, "its end")
        assert self.process.returncode is not None
        return self.process.returncode

    def close(self) -> None:
        os.close(self.own)
        os.close(self.main)


def test_it_leaves_the_terminal_as_it_was(site: Site) -> None:
    """By a key or a signal; and without colours where somebody wants none."""
    ways: list[Callable[[Terminal], None]] = [
        lambda terminal: terminal.type(b"q"),
        lambda terminal: terminal.type(b"\x03"),
        lambda terminal: terminal.process.send_signal(signal.SIGHUP),
    ]
    for way, environment in zip(ways, ({"NO_COLOR": "1"}, {}, {}), strict=True):
        terminal = Terminal(site, **environment)
        way(terminal)
        assert 0 == terminal.end()
        assert terminal.before == termios.tcgetattr(terminal.own)
        assert terminal.written.rindex(b"\x1b[?1049l") > terminal.written.index(b"\x1b[?1049h")
        assert bool(environment) == (COLOURED.search(terminal.written) is None), COLOURED.findall(
            terminal.written
        )[:5]
        terminal.close()


def test_a_terminal_that_is_closed_ends_it(site: Site) -> None:
    """Even one that sends no signal, so that no process is left behind."""
    terminal = Terminal(site)
    terminal.close()
    await_that(lambda: terminal.process.poll() is not None, "its end")


def test_it_says_what_is_missing(site: Site, tmp_path: Path) -> None:
    """A terminal; or the package, with the command that installs it."""
    ended = site.command("top")
    assert (2, True) == (ended.returncode, "needs a terminal" in ended.stderr)
    (tmp_path / "textual.py").write_text("raise ModuleNotFoundError(name='textual')\n")
    main, own = pty.openpty()
    subprocess.run(
        [*NEW_PROCESS, "top", "--config", str(site.folder)],
        stdin=own, stdout=own, stderr=own, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    said = os.read(main, 1 << 16).decode()
    assert f"{sys.executable} -m pip install 'reeldrop[top]'" in said
    os.close(own)
    os.close(main)
