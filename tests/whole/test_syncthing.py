"""Prompt files and videos over real Syncthing, between two nodes on loopback."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import picture_models, real_syncthing
from harness.processes import await_that
from harness.programs import needs
from harness.real_syncthing import Node
from harness.site import Daemon, Hold, Site, make_site
from PIL import Image
from reeldrop.intake.wishes import LONE

SLOW = "prompt: a slow one\npriority: 10\n"
"""A prompt file whose render does not end by itself."""

MANY = 60

PICTURED = """\
  pictured:
    path: {pipeline}
    defaults: {{num_inference_steps: 1, num_frames: 9, height: 64, width: 64}}
"""
"""A second model, which begins with a picture."""


@dataclass
class Pair:
    """A daemon whose inbox and results are shared with a remote node."""

    site: Site
    daemon: Daemon
    here: Node
    there: Node
    inbox: Path
    results: Path

    def put(self, name: str, content: str | bytes) -> Path:
        """Put a file into the remote node's inbox, atomically."""
        path = self.inbox / name
        unfinished = self.inbox / f".{name}.new"
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.rename(path)
        return path

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.site.spool / "status.json").read_text())
        return found

    def is_rendering(self, name: str) -> bool:
        now = self.status()["rendering"]
        return now is not None and now["prompt_file"] == name and now["step"] > 0

    def is_waiting(self, name: str) -> bool:
        return name in [waiting["prompt_file"] for waiting in self.status()["waiting"]]

    def said_of(self, name: str) -> str:
        """Return why a file waits, or is not recognised; empty if neither is said."""
        found = [*self.status()["waiting"], *self.status()["unrecognised"]]
        return next((one["reason"] for one in found if one["prompt_file"] == name), "")

    def is_in_inbox(self, name: str, content: str) -> bool:
        """Return whether a file has this content; Syncthing deletes the old file first."""
        try:
            return (self.site.inbox / name).read_text() == content
        except FileNotFoundError:
            return False

    def says(self, *words: str) -> bool:
        """Return whether the status on the remote node has all these; see `is_in_inbox`."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.results / "STATUS.txt").read_text()
            return all(word in text for word in words)
        return False

    def cancel(self, name: str) -> None:
        """Cancel the current render, so that the test need not wait for it."""
        self.site.command("cancel", name)
        await_that(lambda: not self.is_rendering(name), f"the end of {name}")

    def events(self, event: str, name: str) -> list[dict[str, Any]]:
        return [e for e in self.daemon.events(event) if e.get("prompt_file") == name]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Iterator[Pair]:
    """A daemon and two connected nodes: the inbox is synced both ways, the results one way."""
    needs("syncthing")
    folder = tmp_path_factory.mktemp("pair")
    site = make_site(folder / "site", tiny_pipeline)
    site.configure("settle_seconds: 0.5", "page: true")
    with (site.folder / "config.yaml").open("a") as config:
        config.write(PICTURED.format(pipeline=picture_models.save("LTX", folder / "pictured")))
    far = {"inbox": folder / "far" / "inbox", "results": folder / "far" / "results"}
    here = Node(
        folder / "here",
        {"inbox": site.inbox, "results": site.results},
        {"inbox": "sendreceive", "results": "sendonly"},
    )
    there = Node(folder / "there", far, {"inbox": "sendreceive", "results": "receiveonly"})
    with real_syncthing.connected(here, there):
        hold = Hold(site.folder / "hold")
        hold.hold("a slow one")
        daemon = Daemon(site, hold.program)
        try:
            daemon.wait_for("ready")
            yield Pair(site, daemon, here, there, far["inbox"], far["results"])
        finally:
            daemon.process.kill()
            daemon.process.wait()


@pytest.fixture(scope="module")
def large_picture() -> bytes:
    """A picture of 20 MB."""
    noise = np.random.default_rng(0).integers(0, 256, (2582, 2582, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=0)
    assert 20e6 < len(file.getvalue()) < 21e6
    return file.getvalue()


def test_a_prompt_file_goes_and_a_video_comes_back(pair: Pair) -> None:
    """The file leaves the inbox on both sides, and is beside its video on both."""
    path = pair.put("horse.txt", "a horse\n")
    before = path.stat().st_mtime_ns
    await_that((pair.results / "horse" / "horse.txt").exists, "the prompt file")
    await_that((pair.results / "horse" / "a_horse.mp4").exists, "the video")
    await_that(lambda: not path.exists(), "the inbox to be empty")
    there, here = (folder / "horse" for folder in (pair.results, pair.site.results))
    assert (here / "a_horse.mp4").read_bytes() == (there / "a_horse.mp4").read_bytes()
    assert before == (here / "horse.txt").stat().st_mtime_ns


def test_somebody_who_has_only_the_folder_sees_what_the_service_does(pair: Pair) -> None:
    """The status and the page come with the results, and what is not recognised is named there."""
    pair.put("a.json", "{}")
    await_that(lambda: pair.says("\n  a.json\n"), "the status")
    await_that(lambda: (pair.results / "index.html").exists(), "the page")
    chunk = pair.results / "_page/data/0001.js"
    await_that(lambda: chunk.exists() and "horse/a_horse" in chunk.read_text(), "the video in it")
    (pair.inbox / "a.json").unlink()


@pytest.mark.parametrize("endings", [(".yaml", ".png"), (".png", ".yaml")])
def test_a_large_picture_and_its_prompt_file_come_one_after_the_other(
    pair: Pair, large_picture: bytes, endings: tuple[str, str]
) -> None:
    """Whichever is first waits, and says for what; they are taken together, and come back so."""
    stem = f"after_the_{endings[0][1:]}"
    contents = {
        ".yaml": f"prompt: a boat\nmodel: pictured\nimage: {stem}.png\n".encode(),
        ".png": large_picture,
    }
    waits = {".yaml": f"waits for its picture {stem}.png", ".png": LONE}
    first, second = endings
    pair.put(stem + first, contents[first])
    await_that(lambda: pair.said_of(stem + first).startswith(waits[first]), "the first to wait")
    pair.put(stem + second, contents[second])
    folder = pair.results / stem
    await_that(
        lambda: all((folder / name).exists() for name in ("a_boat.mp4", f"{stem}.png")), "the video"
    )
    assert large_picture == (folder / f"{stem}.png").read_bytes()
    await_that(lambda: not list(pair.inbox.glob(f"{stem}*")), "the inbox to be empty")


def test_an_edit_of_what_is_queued_and_of_what_is_rendered(pair: Pair) -> None:
    """A waiting file is rendered in its last version; one in hand, in both."""
    pair.put("slow.yaml", SLOW)
    await_that(lambda: pair.is_rendering("slow.yaml"), "the slow one")
    pair.put("queued.txt", "before\n")
    await_that(lambda: pair.is_waiting("queued.txt"), "the other in the queue")
    pair.put("queued.txt", "after\n")
    edited = pair.put("slow.yaml", "prompt: quick\n")
    await_that(lambda: pair.site.inbox.joinpath("slow.yaml").exists(), "the edit")
    await_that(lambda: pair.is_in_inbox("queued.txt", "after\n"), "the edit")
    pair.cancel("slow.yaml")
    await_that((pair.results / "queued" / "after.mp4").exists, "the edited one")
    await_that((pair.results / "slow" / "quick.mp4").exists, "the edited slow one")
    await_that((pair.results / "_failed/_cleared/slow.yaml").exists, "the cancelled slow one")
    assert not (pair.site.results / "queued" / "before.mp4").exists()
    await_that(lambda: not edited.exists(), "the inbox to be empty")


def test_a_deletion_of_what_is_queued(pair: Pair) -> None:
    """A deletion on the remote node cancels a waiting file."""
    pair.put("busy.yaml", SLOW)
    await_that(lambda: pair.is_rendering("busy.yaml"), "the slow one")
    path = pair.put("gone.txt", "never\n")
    # What is still on its way counts as waiting, too, and would be so when it is deleted far away.
    await_that((pair.site.inbox / "gone.txt").exists, "the other")
    await_that(lambda: pair.is_waiting("gone.txt"), "the other in the queue")
    path.unlink()
    await_that(lambda: not pair.is_waiting("gone.txt"), "the deletion")
    pair.cancel("busy.yaml")
    pair.put("next.txt", "next\n")
    await_that((pair.results / "next" / "next.mp4").exists, "the one after it")
    assert [] == pair.events("job_started", "gone.txt")


def test_a_phone_steers_by_files_alone(pair: Pair) -> None:
    """It pauses, cancels what is rendered and what waits, goes on, and gets the video."""
    pair.put("far.yaml", SLOW)
    await_that(lambda: pair.is_rendering("far.yaml"), "the slow one")
    pair.put("not.txt", "not this one\n")
    pair.put("wanted.txt", "a phone\n")
    await_that(lambda: pair.says("RENDERING\n  far.yaml", "  wanted.txt", "  not.txt"), "the queue")
    pause = pair.put("PAUSE", "")
    pair.put("not.txt.cancel", "")
    pair.put("far.yaml.cancel", "")
    here = "paused by inbox/PAUSE; delete it to go on"
    await_that(lambda: pair.says(here) and not pair.says("RENDERING\n"), "the pause")
    failed = [pair.results / "_failed" / name for name in ("far.yaml", "not.txt")]
    await_that(lambda: all(path.exists() for path in failed), "both, cancelled")
    assert (pair.site.inbox / "wanted.txt").exists()
    pause.unlink()
    await_that((pair.results / "wanted" / "a_phone.mp4").exists, "the video")
    await_that(lambda: not list(pair.inbox.glob("[!.]*")), "the inbox to be empty")
    assert [] == pair.events("job_started", "not.txt")


def test_a_conflict_is_rendered_on_both_sides(pair: Pair) -> None:
    """Two edits of one file while offline give two videos, and the log names the copy."""
    pair.put("busy2.yaml", SLOW)
    await_that(lambda: pair.is_rendering("busy2.yaml"), "the slow one")
    pair.put("both.txt", "at first\n")
    await_that(lambda: pair.is_waiting("both.txt"), "the file on both sides")
    await_that(lambda: pair.here.knows_all("inbox", pair.there), "both to know of it")
    pair.there.ask(f"system/pause?device={pair.here.id}", post=True)
    pair.put("both.txt", "far away\n")
    (pair.site.inbox / "both.txt").write_text("near by\n")
    for node in (pair.here, pair.there):
        node.ask("db/scan?folder=inbox", post=True)
    pair.there.ask(f"system/resume?device={pair.here.id}", post=True)

    def copies() -> list[str]:
        return [path.name for path in pair.site.inbox.glob("both.sync-conflict-*.txt")]

    await_that(copies, "the conflict copy")
    (copy,) = copies()
    pair.cancel("busy2.yaml")
    videos = [
        pair.results / folder / f"{what}.mp4"
        for folder in ("both", copy.removesuffix(".txt"))
        for what in ("near_by", "far_away")
    ]
    await_that(lambda: sum(video.exists() for video in videos) == 2, "a video for each")
    (event,) = pair.events("conflict_copy", copy)
    assert "Syncthing" == event["made_by"]


def test_many_files_at_once_while_the_node_is_stopped_in_the_middle(pair: Pair) -> None:
    """Each is rendered once, and all videos arrive after the restart."""
    for number in range(MANY):
        text = f"prompt: a {number}\nnum_inference_steps: 1\nnum_frames: 2\nformat: gif\n"
        pair.put(f"m{number:03}.yaml", text)
    await_that(lambda: len(list(pair.site.results.glob("m*/*.gif"))) >= 10, "the first of them")
    pair.here.stop()
    pair.here.start()

    def back() -> int:
        return len(list(pair.results.glob("m*/m*.yaml")))

    await_that(lambda: back() == MANY, "the last of them")
    await_that(lambda: len(list(pair.results.glob("m*/*.gif"))) == MANY, "every video")
    await_that(lambda: not list(pair.inbox.glob("m*")), "the inbox to be empty")
    assert MANY == len(list(pair.site.results.glob("m*/*.gif")))
    started = [e["prompt_file"] for e in pair.daemon.events("job_started")]
    assert MANY == len([name for name in started if name.startswith("m")])
    assert [] == list(pair.results.rglob("*reeldrop-*"))


def test_no_temporary_file_was_ever_sent(pair: Pair) -> None:
    """Syncthing ignores our unfinished files, and we ignore Syncthing's."""
    known = json.dumps(pair.there.ask("db/browse?folder=results"))
    assert "a_horse.mp4" in known
    assert "reeldrop-" not in known


@pytest.fixture(autouse=True)
def _ends_well(pair: Pair) -> Iterator[None]:
    """Assert after each test that the daemon runs, and leave it no long render."""
    yield
    assert pair.daemon.process.poll() is None
    if now := pair.status()["rendering"]:
        pair.cancel(now["prompt_file"])
