"""journal: entries in the form of systemd's journal, in a datagram or a sealed memory file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.journal_receiver import Receiver, parsed
from reeldrop.host import journal

LARGE = "a traceback\n" * 100_000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A socket like the journal's."""
    with contextlib.closing(Receiver(tmp_path / "socket")) as made:
        yield made


def test_an_entry_is_lines_in_a_datagram(receiver: Receiver) -> None:
    """A value of one line follows its name and an equals sign."""
    journal.send([("MESSAGE", "a = b"), ("PRIORITY", "6")], receiver.address)
    assert (b"MESSAGE=a = b\nPRIORITY=6\n", []) == receiver.datagram()


def test_a_value_with_line_ends_has_its_length_before_it(receiver: Receiver) -> None:
    """An 8-byte length comes before it, so that no value can imitate another field."""
    journal.send([("TEXT", "a\nPRIORITY=0"), ("PRIORITY", "6")], receiver.address)
    data, _ = receiver.datagram()
    assert b"TEXT\n" + bytes([12, 0, 0, 0, 0, 0, 0, 0]) + b"a\nPRIORITY=0\nPRIORITY=6\n" == data


def test_bytes_that_are_no_utf_8_are_escaped(receiver: Receiver) -> None:
    """A file name that is not UTF-8 does not lose the entry."""
    journal.send([("FILE", "大\udcff.txt")], receiver.address)
    assert {"FILE": "大\\udcff.txt"} == receiver.entry()


def test_a_large_entry_is_a_sealed_file_in_memory(receiver: Receiver) -> None:
    """An entry too large for a datagram is sent as the descriptor of a sealed file."""
    journal.send([("MESSAGE", LARGE)], receiver.address)
    data, (fd,) = receiver.datagram()
    assert b"" == data
    with open(fd, "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        file.seek(0)
        assert {"MESSAGE": LARGE} == parsed(file.read())
    assert seals == (
        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    )


def test_sending_leaves_nothing_open(receiver: Receiver) -> None:
    """No descriptor is left open after a datagram or a memory file."""
    before = os.listdir("/proc/self/fd")
    journal.send([("MESSAGE", "a")], receiver.address)
    journal.send([("MESSAGE", LARGE)], receiver.address)
    assert before == os.listdir("/proc/self/fd")


def test_no_journal_is_an_error(tmp_path: Path) -> None:
    """`send` raises if no journal listens."""
    with pytest.raises(FileNotFoundError):
        journal.send([("MESSAGE", "a")], str(tmp_path / "none"))


def test_a_journal_that_hangs_is_an_error(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`send` raises after a second if the journal reads nothing."""
    monkeypatch.setattr(journal, "WAIT_SECONDS", 0.01)

    def send_many() -> None:
        for _ in range(100_000):
            journal.send([("MESSAGE", "a")], receiver.address)

    with pytest.raises(TimeoutError):
        send_many()


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("job_id", "JOB_ID"),
        ("step2", "STEP2"),
        ("_pid", ""),
        ("2nd", ""),
        ("größe", ""),
        ("a-b", ""),
        ("a=b\n", ""),
        ("", ""),
        ("x" * 64, "X" * 64),
        ("x" * 65, ""),
    ],
)
def test_names_of_fields(key: str, name: str) -> None:
    """A key becomes a field in upper case, if the journal accepts such a name."""
    assert name == journal.field_name(key)


def test_a_stream_is_the_journals_if_systemd_says_so(tmp_path: Path) -> None:
    """$JOURNAL_STREAM must match stdout's device and inode; a redirected stdout does not."""
    with (tmp_path / "one").open("w") as one, (tmp_path / "two").open("w") as two:
        found = os.fstat(one.fileno())
        environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert journal.has_stream(one.fileno(), environment)
        assert not journal.has_stream(two.fileno(), environment)
        assert not journal.has_stream(one.fileno(), {})
        closed = one.fileno()
    assert not journal.has_stream(closed, environment)
