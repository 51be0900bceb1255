"""Sheets: where each video of a sweep is, what is written there, and what can't break them."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from harness.jobs import empty_place
from harness.videos import decoded
from PIL import Image, ImageFont
from reeldrop.base.errors import ReeldropError
from reeldrop.base.events import Event
from reeldrop.base.job import Cause, Prompt
from reeldrop.base.sweeps import Swept
from reeldrop.store import job_files
from reeldrop.store.sheets import SheetsOf
from reeldrop.video import arrangement, encoder, synthetic
from reeldrop.video.arrangement import Tile
from reeldrop.video.assembling import Assembler, _Making
from reeldrop.video.labels import Labels
from reeldrop.video.sheets import MAX_SIDE, Drawing, Source

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


def prompt(number: int, swept: Swept, text: str = "a fox", size: int = 64) -> Prompt:
    """Return a prompt of a sweep."""
    sizes = (("height", size), ("width", size))
    return Prompt(number, text, "m", sizes, number, 8, ("mp4",), swept=swept)


def matrix(**axes: Sequence[int]) -> list[Prompt]:
    """Return the prompts of a matrix of two keys."""
    (one, these), (other, those) = axes.items()
    pairs = [((one, a), (other, b)) for a in these for b in those]
    return [prompt(number, pair) for number, pair in enumerate(pairs, 1)]


def numbers(prompts: Sequence[Prompt]) -> list[list[list[int]]]:
    """Return the numbers of the videos on each sheet, row by row; 0 where none is."""
    return [
        [[tile.number if tile else 0 for tile in row] for row in sheet]
        for sheet in arrangement.arranged(prompts)
    ]


def labels(prompts: Sequence[Prompt]) -> list[str]:
    """Return the labels of the first sheet."""
    (sheet, *_) = arrangement.arranged(prompts)
    return [tile.label for row in sheet for tile in row if tile]


def test_the_first_key_goes_across() -> None:
    """What else differs goes downwards; what is too wide or high, on in the next row or sheet."""
    assert [[[1, 3, 5], [2, 4, 6]]] == numbers(matrix(guidance=(6, 9, 12), steps=(15, 25)))
    only_one = matrix(guidance=(6,), steps=(15, 25, 35))
    assert [[[1, 2, 3]]] == numbers(only_one)
    flow = [prompt(n, (("wildcards", f"w{n}"),), f"text {n}") for n in range(1, 6)]
    assert [[[1, 2, 3], [4, 5]]] == numbers(flow)
    wide = numbers(matrix(guidance=range(10), steps=(1, 2)))
    assert [[6, 4, 6, 4]] == [list(map(len, sheet)) for sheet in wide]
    high = numbers(matrix(guidance=(1, 2), steps=range(100)))
    assert [[6] * 6] * 5 + [[6] * 3 + [2]] == [list(map(len, sheet)) for sheet in high]
    large = [dataclasses.replace(p, arguments=(("height", 1080), ("width", 1920))) for p in flow]
    assert [[[1, 2], [3, 4]], [[5]]] == numbers(large)
    takes = [*matrix(a=(1, 2), b=(3,)), *(prompt(n, (("a", n - 2), ("b", 3))) for n in (3, 4))]
    assert [[[1, 2], [3, 4]]] == numbers(takes)


def test_labels_say_what_tells_videos_apart() -> None:
    """Number and choice first; the prompt, the picture or the seed where that is not enough."""
    assert ["1. a 1, b 3", "3. a 2, b 3"] == labels(matrix(a=(1, 2), b=(3, 4)))[:2]
    assert ["1. b 3", "2. b 4"] == labels(matrix(a=(1,), b=(3, 4)))
    both = [prompt(1, (("a", 1),)), prompt(2, (("a", 2),)), prompt(3, (("a", 1),), "an owl")]
    assert ["1. a 1, a fox", "2. a 2, a fox", "3. a 1, an owl"] == labels(both)
    drawn = [prompt(1, (("wildcards", "red, -"),), "a red fox"), prompt(2, (("wildcards", "b"),))]
    assert ["1. red, -", "2. b"] == labels(drawn)
    assert ["1. seed 1", "2. seed 2"] == labels([prompt(n, (("a", 1),)) for n in (1, 2)])


def film(
    folder: Path, number: int, frames: int, width: int, height: int, kind: str = "mp4"
) -> Source:
    """Write a video of one colour that gets darker in each frame, and its poster."""
    shades = np.linspace(1, 0.5, frames)[:, None, None, None]
    pixels = np.broadcast_to(np.array(COLOURS[number - 1]), (frames, height, width, 3))
    whole = (pixels * shades).astype(np.uint8)
    for suffix in (kind, "jpg"):
        encoder.encode(whole, folder / f"{number}.{suffix}", suffix, 8, "")
    return Source(folder / f"{number}.jpg", folder / f"{number}.{kind}")


def near(colour: Sequence[int], pixel: np.ndarray) -> bool:
    """Return whether a pixel has a colour, as far as an encoder keeps it."""
    return bool(np.abs(pixel.astype(int) - np.array(colour)).max() < 25)


def test_videos_of_different_sizes_lengths_and_rates(tmp_path: Path) -> None:
    """Each keeps its shape and its speed; the whole is as long as the longest, with its rate."""
    sources = {
        1: film(tmp_path, 1, 8, 64, 64),
        2: film(tmp_path, 2, 4, 128, 64),
        3: film(tmp_path, 3, 6, 32, 64, "webm"),
        4: film(tmp_path, 4, 16, 64, 32, "gif"),
    }
    fps = {1: 8.0, 2: 8.0, 3: 4.0, 4: 16.0}
    sheet = [[Tile(n, f"{n}.", fps[n]) for n in row] for row in ((1, 2), (3, 4))]
    own = Labels()
    mark = synthetic.packet_of(["a & b"])
    drawing = Drawing(sheet, sources, own, lambda: None, mark)
    assert drawing.write_video(tmp_path / "sheet.mp4")
    assert drawing.write_picture(tmp_path / "sheet.jpg")
    for suffix in ("mp4", "jpg"):
        assert mark.encode() in (tmp_path / f"sheet.{suffix}").read_bytes()
    frames = decoded(tmp_path / "sheet.mp4")
    width, height = 192, 96  # the largest, 128x64, made larger for its label
    shape = 2 * (height + own.height + 2), 2 * (width + 2)
    assert (24, *shape, 3) == frames.shape  # 1.5 s of the third, with 16 a second
    with Image.open(tmp_path / "sheet.jpg") as picture:
        assert shape[::-1] == picture.size
    centres = {
        number: (row * (height + own.height + 2) + height // 2, column * (width + 2) + width // 2)
        for row, tiles in enumerate(sheet)
        for column, tile in enumerate(tiles)
        for number in [tile.number]
    }
    for number, centre in centres.items():
        first, last = frames[0][centre], frames[-1][centre]
        assert near(COLOURS[number - 1], first)
        assert near(np.array(COLOURS[number - 1]) / 2, last), number
    narrow = frames[0][centres[3][0], centres[3][1] - width // 2 + 2]
    assert near((0, 0, 0), narrow)
    label = frames[0][height : height + own.height, :width]
    assert label.max() > 200 > 60 > label.min()


def test_nothing_of_a_stranger_breaks_a_sheet(tmp_path: Path) -> None:
    """Pipes, links, playlists, cut files and bombs stay dark; with no video there is no sheet."""
    good = film(tmp_path, 1, 4, 64, 64)
    assert good.video is not None
    whole = good.video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.mp4").write_bytes(whole[:406])
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{good.video}\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {good.video}\n")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(good.video)
    os.mkfifo(tmp_path / "pipe.mp4")
    names = ("cut", "head", "list", "concat", "empty", "link", "pipe", "none")
    bad = {n: Source(tmp_path / f"{x}.mp4", tmp_path / f"{x}.mp4") for n, x in enumerate(names, 2)}
    tiles = [[Tile(n, f"{n}.", 8.0) for n in range(1, 10)]]
    drawing = Drawing(tiles, {1: good, **bad}, Labels(), lambda: None)
    assert drawing.write_video(tmp_path / "sheet.mp4")
    assert drawing.write_picture(tmp_path / "sheet.jpg")
    frames = decoded(tmp_path / "sheet.mp4")
    assert 4 == len(frames)
    assert MAX_SIDE >= max(frames.shape[1:3])
    tile = frames.shape[2] // 9
    middles = [frames[0, 30, tile * number + tile // 2] for number in range(9)]
    assert near(COLOURS[0], middles[0])
    assert all(near((0, 0, 0), middle) for middle in middles[1:])
    nothing = Drawing(tiles, bad, Labels(), lambda: None)
    assert not nothing.write_video(tmp_path / "dark.mp4")
    assert not nothing.write_picture(tmp_path / "dark.jpg")


def test_labels_in_any_script() -> None:
    """Signs that no font has are boxes; a long text is cut in its last line."""
    own, bare = Labels(), Labels(folders=[])
    for labels in (own, bare):
        assert np.asarray(labels.draw("12. guidance_scale 6", 200)).max() > 200
    assert (192, own.height) == own.draw("word " * 1000, 192).size
    assert not own.lacking
    bare.draw("caf\u00e9 \u5927\u9d6c\U0001f98a", 200)
    assert set("\u5927\u9d6c\U0001f98a") == bare.lacking
    with_dots = np.asarray(bare.draw("x" * 200, 200))
    assert with_dots[:, 196:].max() < 60  # nothing is cut off at the edge


def test_a_damaged_font_is_passed_over(tmp_path: Path) -> None:
    """Also one that can be opened; signs are drawn with the next font."""
    whole = ImageFont.load_default(14)
    assert isinstance(whole, ImageFont.FreeTypeFont)
    assert isinstance(whole.path, io.BytesIO)
    data = bytearray(whole.path.getvalue())
    table = data.index(b"glyf")  # the outlines: name, checksum, place, size
    place, size = struct.unpack_from(">II", data, table + 8)
    data[place : place + size] = b"\xff" * size
    (tmp_path / "sans.ttf").write_bytes(data)
    labels = Labels(folders=[tmp_path])
    assert np.asarray(labels.draw("6", 200)).max() > 200
    assert not labels.lacking


def test_a_killed_sheet_is_made_again_and_never_twice(tmp_path: Path) -> None:
    """Its name is recorded first, so the next process goes on with the file that is missing."""
    with empty_place(tmp_path) as place:
        job = place.claim("a.yaml")
        folder = place.results.folder_for(job.source)
        folder.mkdir(parents=True)
        (folder / "_sheet.yaml").touch()  # a stranger's
        written: list[str] = []

        def write(path: Path) -> bool:
            written.append(path.name)
            path.write_bytes(b"whole")
            return True

        def killed(path: Path) -> bool:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        first = SheetsOf(job, place.results)
        assert first.begin()
        with pytest.raises(KeyboardInterrupt):
            first.publish(0, {".jpg": write, ".mp4": killed}, lambda: None)
        again = SheetsOf(job, place.results)
        assert again.begin()
        for number in (0, 1):
            again.publish(number, {".jpg": write, ".mp4": write}, lambda: None)
        assert 4 == len(written)
        names = {"_sheet-2.jpg", "_sheet-2.mp4", "_sheet-3.jpg", "_sheet-3.mp4", "_sheet.yaml"}
        assert names == set(os.listdir(folder))
        assert not SheetsOf(job, place.results).begin()
        again.take_back()
        assert SheetsOf(job, place.results).begin()


@pytest.mark.parametrize(("cause", "tries"), [("work", 2), ("unknown", 6), ("machine", 20)])
def test_who_kills_a_service_twice_gets_the_sheets(tmp_path: Path, cause: str, tries: int) -> None:
    """A kill may have any reason, and a power cut has none in them; a crash is theirs."""
    with empty_place(tmp_path) as place:
        job = place.claim("a.yaml")
        for number in range(20):
            assert SheetsOf(job, place.results).begin() == (number < tries)
            for _ in range(2):  # the second process ends before it comes to them
                how = "" if cause == "machine" else "killed"  # as the service says it
                place.spool.note_ending(how, Cause(cause))


def test_the_record_of_sheets_is_written_beside_other_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the thread that draws them writes it, others write theirs into the same folder."""
    with empty_place(tmp_path) as place:
        job, fsync = place.claim("a.yaml"), os.fsync

        def beside(fd: int) -> None:
            monkeypatch.setattr(os, "fsync", fsync)
            job_files.write_record(dataclasses.replace(job, priority=7), is_cancelled=False)
            fsync(fd)

        monkeypatch.setattr(os, "fsync", beside)
        assert SheetsOf(job, place.results).begin()
        assert fsync is os.fsync
        found = place.spool.find(job.id)
        assert found is not None
        assert 7 == found.priority
        assert SheetsOf(job, place.results).begin()
        assert not SheetsOf(job, place.results).begin()


def test_sheets_that_were_given_up_are_not_published_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread hangs while it writes a file, and wakes after the answer that there is none."""
    with empty_place(tmp_path) as place:
        job = place.claim("a.yaml")
        folder = place.results.folder_for(job.source)
        folder.mkdir(parents=True)
        told: list[Event] = []
        assembler = Assembler(place.results, place.spool.root, told.append)
        assembler._in_hand = making = _Making(job, matrix(seed=[1], steps=[1, 2]))

        def write(_drawing: Drawing, path: Path) -> bool:
            path.write_bytes(b"whole")
            assembler.give_up("they hung")
            return True

        monkeypatch.setattr(Drawing, "write_picture", write)
        with pytest.raises(ReeldropError):
            assembler._make_from(making, {}, SheetsOf(job, place.results))
        assert 1 == len(told)
        assert [] == os.listdir(folder)
