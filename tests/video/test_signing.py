"""signing: others can check that a file is unchanged, and who signed it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from harness import certificates
from harness.files import no_larger_than
from harness.processes import await_that
from harness.videos import pictures_of, rendered_by
from reeldrop.base.errors import ConfigError
from reeldrop.base.job import Prompt
from reeldrop.video import encoder, identity, signing, synthetic
from reeldrop.video.signing import Signer, SigningError

PROMPT = Prompt(1, "a boat of gold", "tiny", (), 1, 8, ("mp4",))
RENDERED = rendered_by("someone/model")
FORMATS = tuple(signing.KINDS)


def encoded(folder: Path, kind: str) -> Path:
    """Return a new file with the mark."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    path = folder / f"a.{kind}"
    encoder.encode(frames, path, kind, 8, "prompt: x\n", mark=synthetic.packet(RENDERED))
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_a_signed_file_is_checked(kind: str, tmp_path: Path) -> None:
    """It is valid, names who signed it, and shows what it did; with a byte changed, it is not."""
    path = encoded(tmp_path, kind)
    before, claim = pictures_of(path), synthetic.claim(path)
    assert signing.claims(path, kind) is None
    Signer(*certificates.save(tmp_path), include_prompt=False).sign(path, kind, PROMPT, RENDERED)
    assert {"state": "Valid", "signer": certificates.ORGANISATION} == signing.claims(path, kind)
    assert (before, claim) == (pictures_of(path), synthetic.claim(path))
    assert path.stat().st_size < 60_000
    data = bytearray(path.read_bytes())
    assert b"a boat of gold" not in data
    data[data.index(b"AISystemUsed")] ^= 1
    path.write_bytes(data)
    assert "Invalid" == (signing.claims(path, kind) or {})["state"]


def test_the_prompt_is_signed_only_if_asked_for(tmp_path: Path) -> None:
    """With `include_prompt`, the manifest has it."""
    path = encoded(tmp_path, "jpg")
    Signer(*certificates.save(tmp_path), include_prompt=True).sign(path, "jpg", PROMPT, RENDERED)
    assert b"a boat of gold" in path.read_bytes()


def test_a_file_that_cannot_be_signed_stays(tmp_path: Path) -> None:
    """As if it is none of its kind."""
    path = encoded(tmp_path, "mp4")
    before = path.read_bytes()
    signer = Signer(*certificates.save(tmp_path), include_prompt=False)
    with pytest.raises(SigningError):
        signer.sign(path, "jpg", PROMPT, RENDERED)
    assert before == path.read_bytes()


def test_a_full_disk_is_no_reason_to_publish_without_a_signature(tmp_path: Path) -> None:
    """It is the disk's fault, which names the file."""
    path = encoded(tmp_path, "jpg")
    signer = Signer(*certificates.save(tmp_path), include_prompt=False)
    with no_larger_than(path.stat().st_size + 100), pytest.raises(OSError, match=r"a\.jpg"):
        signer.sign(path, "jpg", PROMPT, RENDERED)


def test_a_certificate_that_ends_breaks_nothing(tmp_path: Path) -> None:
    """What was signed before still is, and says so; what comes later stays unsigned."""
    path, later = encoded(tmp_path, "jpg"), encoded(tmp_path, "gif")
    before = later.read_bytes()
    signer = Signer(*certificates.save(tmp_path, days=4 / 86400), include_prompt=False)
    signer.sign_sheet(path, "jpg", ["tiny"])

    def state() -> str:
        return (signing.claims(path, "jpg") or {})["state"]

    assert "Valid" == state()
    await_that(lambda: state() != "Valid", "the end of the certificate")
    assert "Expired" == state()
    with pytest.raises(SigningError, match="not valid at time of signing"):
        signer.sign(later, "gif", PROMPT, RENDERED)
    assert before == later.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"AISystemUsed", b"aISystemUsed"))
    assert "Invalid" == state()


def test_what_cannot_sign_is_refused(tmp_path: Path) -> None:
    """Missing files, no PEM, another's key, an old certificate: said with both names."""
    certificate, key = certificates.save(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = certificates.save(tmp_path / "other")
    (tmp_path / "old").mkdir()
    old = certificates.save(tmp_path / "old", days=-1)
    no_key = tmp_path / "no.key"
    no_key.write_text("hunter2")
    wrong = (tmp_path / "none", key), (certificate, no_key), (key, key), (certificate, other), old
    for pair in wrong:
        with pytest.raises(ConfigError, match="can't be used to sign") as refused:
            Signer(*pair, include_prompt=False)
        assert str(pair[0]) in str(refused.value)
        assert "hunter2" not in str(refused.value)


def test_pictures_are_known_without_their_metadata(tmp_path: Path) -> None:
    """The digest is that of the pictures alone: equal without metadata, not after a change."""
    path = encoded(tmp_path, "mp4")
    before = identity.shape(path), identity.digest(path)
    signer = Signer(*certificates.save(tmp_path), include_prompt=False)
    signer.sign(path, "mp4", PROMPT, RENDERED)
    assert before == (identity.shape(path), identity.digest(path))
    frames = np.zeros((3, 48, 64, 3), dtype=np.uint8)
    encoder.encode(frames, path, "mp4", 8, json.dumps({}))
    assert before[0] == identity.shape(path)
    assert before[1] != identity.digest(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    with pytest.raises(ValueError, match="unknown format"):
        identity.shape(path)
