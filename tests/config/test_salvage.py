"""salvage: the valid part of a config.yaml with mistakes is used, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

from reeldrop.config import config, salvage

RIGHT = "inbox: films\nscan_seconds: 7\nmodel: tiny\nmodels:\n  tiny:\n    path: pipeline\n"


def test_what_is_right_is_read(tmp_path: Path) -> None:
    """A mistake removes only its entry; if the model's profile is lost, `auto` is used."""
    file = tmp_path / "config.yaml"
    kept = (tmp_path / "films", 7.0, "tiny")
    for mistake, expected in (
        ("", kept),
        ("setle_seconds: 1\n", kept),
        ("max_attempts: many\n", kept),
        ("x: ]\n", kept),
        ("---\n", kept),
        ("\tdefaults: 1\n", (tmp_path / "films", 7.0, "auto")),
        ("model: tinny\n", (tmp_path / "films", 7.0, "auto")),
        ("scan_seconds: 8\n", (tmp_path / "films", 5.0, "tiny")),
    ):
        file.write_text(RIGHT + mistake)
        found = salvage.readable(file)
        assert found is not None, mistake
        assert expected == (found.inbox, found.scan_seconds, found.model), mistake
    file.write_text(RIGHT.replace("path: pipeline", "paht: pipeline"))
    found = salvage.readable(file)
    assert found is not None
    assert (tmp_path / "films", "auto") == (found.inbox, found.model)


def test_a_file_that_is_right_is_read_whole(tmp_path: Path) -> None:
    """Comments, lists and nested entries are read as usual."""
    file = tmp_path / "config.yaml"
    file.write_text(config.template())
    assert config.load(file) == salvage.readable(file)


def test_no_folder_is_guessed(tmp_path: Path) -> None:
    """A default folder would not be the daemon's, so None is returned."""
    file = tmp_path / "config.yaml"
    for mistake in ("inbox: [\n", "inbox: other\n", "spool: films/spool\n", "results: 3\n"):
        file.write_text(RIGHT + mistake)
        assert salvage.readable(file) is None, mistake
    assert salvage.readable(tmp_path / "none.yaml") is None
