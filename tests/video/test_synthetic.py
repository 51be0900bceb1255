"""synthetic: files say that a model made them, in the place where other programs look for that."""

from __future__ import annotations

import json
import mmap
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.programs import needs
from harness.videos import pictures_of, rendered_by
from reeldrop.video import encoder, mp4_index, synthetic

FORMATS = ("mp4", "webm", "gif", "jpg")
SETTINGS = "prompt: a boat\n"
RENDERED = rendered_by("someone/model <b>&]]>\x1b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in each format and its poster, with the mark and, in `without/`, without it."""
    folder = tmp_path_factory.mktemp("synthetic")
    (folder / "without").mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    for kind in FORMATS:
        mark = synthetic.packet(RENDERED)
        encoder.encode(frames, folder / f"a.{kind}", kind, 8, SETTINGS, mark=mark)
        encoder.encode(frames, folder / "without" / f"a.{kind}", kind, 8, SETTINGS)
    return folder


def told_by_exiftool(*paths: Path) -> list[dict[str, Any]]:
    """Return what exiftool reads in each file, and that it finds nothing wrong with it."""
    needs("exiftool")
    command = ["exiftool", "-json", "-a", "-G1", "-all:all", "-validate", *map(str, paths)]
    found: list[dict[str, Any]] = json.loads(subprocess.check_output(command))
    assert all(one["ExifTool:Validate"] == "OK" for one in found), found
    return found


def test_other_programs_read_the_mark(folder: Path) -> None:
    """exiftool finds it as XMP, but for webm, which has no place for that: there it is a tag."""
    for kind, found in zip(FORMATS, told_by_exiftool(*paths_of(folder)), strict=True):
        if kind == "webm":
            assert synthetic.packet(RENDERED).split() == found["Matroska:Xmp"].split()
            continue
        assert synthetic.DIGITAL_SOURCE_TYPE == found["XMP-iptcExt:DigitalSourceType"]
        assert "someone/model <b>&]]>\\x1b" == found["XMP-iptcExt:AISystemUsed"]
        assert RENDERED.revision == found["XMP-iptcExt:AISystemVersionUsed"]
        assert "reeldrop 1.2" == found["XMP-xmp:CreatorTool"]


def test_a_preview_has_the_mark(folder: Path) -> None:
    """As a poster has it, and the same picture."""
    plain, marked = folder / "without" / "a.jpg", folder / "preview.jpg"
    data = synthetic.in_jpg(plain.read_bytes(), synthetic.packet_of(["unknown"]))
    marked.write_bytes(data)
    [found] = told_by_exiftool(marked)
    assert synthetic.DIGITAL_SOURCE_TYPE == found["XMP-iptcExt:DigitalSourceType"]
    assert pictures_of(plain) == pictures_of(marked)


def test_without_the_mark_there_is_none(folder: Path) -> None:
    """No XMP in any format."""
    for found in told_by_exiftool(*paths_of(folder / "without")):
        assert not [key for key in found if "xmp" in key.lower()]


def test_the_pictures_are_the_same(folder: Path) -> None:
    """Players and readers of settings see no difference."""
    for path in paths_of(folder):
        assert pictures_of(path) == pictures_of(folder / "without" / path.name)
    assert SETTINGS.encode() == mp4_index.embedded_settings(folder / "a.mp4")


def test_what_a_file_claims_is_read_in_one_pass(tmp_path: Path) -> None:
    """Beginnings without end cost nothing; a prompt in our file can't hide what that is."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"<?xpacket begin" * 1000 + b"<?xpacket end")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert 1 == len(list(synthetic._packets(content)))
    own = synthetic.packet(RENDERED)
    other = own.replace("trainedAlgorithmicMedia", "digitalCapture")
    for text, is_synthetic in ((other + own, True), (other, False)):
        path.write_text(text)
        assert is_synthetic == synthetic.claim(path).is_synthetic


def paths_of(folder: Path) -> list[Path]:
    """Return the files of all formats in a folder."""
    return [folder / f"a.{kind}" for kind in FORMATS]
