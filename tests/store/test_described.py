"""described: commands know what the daemon's pipelines accept, for the same origin only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.rules import CAPABILITIES
from reeldrop.base.job import Grid
from reeldrop.store import described


def test_what_is_noted_is_read(tmp_path: Path) -> None:
    """A note is read back while the profile is loaded from the same place."""
    described.note(tmp_path, "tiny", "/models/tiny", CAPABILITIES)
    other = replace(CAPABILITIES, grids={"num_frames": Grid(4, 1, least=33, chunk=33)})
    described.note(tmp_path, "other", "hub/other abc", other)
    assert CAPABILITIES == described.read(tmp_path, "tiny", "/models/tiny")
    assert other == described.read(tmp_path, "other", "hub/other abc")
    assert described.read(tmp_path, "tiny", "/models/newer") is None
    assert described.read(tmp_path, "third", "/models/tiny") is None


def test_a_note_is_only_a_note(tmp_path: Path) -> None:
    """A damaged note is ignored and replaced; a note that can't be written raises no error."""
    file = tmp_path / described.FILE_NAME
    for content in (b"", b"[]", b"\xff", b'{"tiny": 3}', b'{"tiny": {"origin": "x"}}', b"[" * 9999):
        file.write_bytes(content)
        assert described.read(tmp_path, "tiny", "x") is None, content
    described.note(tmp_path, "tiny", "x", CAPABILITIES)
    assert CAPABILITIES == described.read(tmp_path, "tiny", "x")
    described.note(tmp_path / "none", "tiny", "x", CAPABILITIES)
