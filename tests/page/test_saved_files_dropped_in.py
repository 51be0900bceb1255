"""What the gallery saves, put where it says, does what it says: a real browser, a real daemon."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.browser import Browser, browser
from harness.processes import await_that
from harness.site import Daemon, Hold, Site


class Visitor:
    """Somebody who has only the synced folders: the results, and an inbox to put files into."""

    def __init__(self, site: Site, seen: Browser) -> None:
        self._site = site
        self._seen = seen

    def look(self) -> None:
        """Open the page, and what it says of the service."""
        self._seen.open(self._site.results / "index.html")
        self._seen.ask("(document.querySelector('#now').open = true)")

    def await_text(self, text: str) -> None:
        """Wait until the page says something; it looks for news itself, but seldom."""

        def says() -> bool:
            self._seen.ask("(reeldrop.loadNow(), reeldrop.loadVideos(() => {}))")
            return text in str(self._seen.ask("document.body.innerText"))

        await_that(says, f"{text!r} on the page")

    def save(self, button: str, about: str = "") -> Path:
        """Press a button; return where what it saved was put, as the page says.

        about: what it is about; needed where several buttons have the same text.
        """
        is_it = f"@aria-label='{button} {about}'" if about else f".='{button}'"
        found = self._seen.driver.find_elements("xpath", f"//button[{is_it}]")
        (displayed,) = (one for one in found if one.is_displayed())
        displayed.click()
        await_that(lambda: self._whole(), f"a file by {button}")
        (path,) = self._whole()
        said = str(self._seen.ask("document.querySelector('.said p').textContent"))
        self._seen.click(".said button")
        assert said.startswith(f"Put {path.name} into the ")
        _, _, folder = said.partition("into the folder ")
        folder = folder.partition(" of the inbox")[0]
        return Path(shutil.move(path, self._site.inbox / folder / path.name))

    def _whole(self) -> list[Path]:
        return [path for path in self._seen.saved.iterdir() if path.suffix != ".crdownload"]


def test_every_saved_file_does_what_its_button_says(
    site: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Another take, a new prompt, retry, ratings, pause; cancel of what waits or is rendered."""
    site.configure("page: true")
    hold = Hold(tmp_path / "hold")
    hold.hold("slow")
    site.drop("a.yaml", "prompt: a horse\nseed: 7\n")
    site.drop("x/bad.yaml", "promt: x\n")
    strays = [site.drop(name, "{}") for name in ("ratings.json", "x/ratings.json")]
    started = daemon(hold.program)
    started.wait_for("job_ended")
    with browser(tmp_path) as seen:
        visitor = Visitor(site, seen)
        await_that((site.results / "index.html").exists, "the page")
        visitor.look()
        visitor.await_text("x/bad.yaml")
        visitor.await_text("no file of ratings")
        visitor.await_text("ratings of videos: put them at the top of the inbox")
        for stray in strays:
            stray.unlink()
        visitor.save("Retry")
        started.wait_for("job_failed", 2)
        seen.click(".card .star")
        visitor.save("Save my ratings")
        seen.click(".card .poster")
        visitor.save("Another take")
        started.wait_for("job_ended", 2)
        seen.click("#view details summary")
        seen.type("#view textarea", " at sea")
        visitor.save("Save the prompt file")
        started.wait_for("job_ended", 3)
        visitor.look()
        visitor.await_text("2 takes")
        visitor.await_text("a horse at sea")
        seen.click("#rated option[value=all]")
        visitor.await_text("★ 1")
        pause = visitor.save("Pause")
        waits = site.drop("later/waits.yaml", "prompt: a slow house\n")
        visitor.await_text("PAUSE")
        assert waits.exists()
        pause.unlink()
        visitor.await_text("a slow house")
        site.drop("later/next.yaml", "prompt: a box\nmodel: tiny\n")
        visitor.await_text("Waiting: 1")
        visitor.save("Cancel", "later/next.yaml")
        visitor.await_text("it was cancelled on request")
        visitor.save("Cancel", "later/waits.yaml")
        started.wait_for("job_cancelled", 2)
    left = [name for _, _, names in os.walk(site.inbox) for name in names]
    assert [] == left
