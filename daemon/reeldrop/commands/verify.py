"""`reeldrop verify`: what files claim of their origin, whether that holds, and which are ours."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import glob
import itertools
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.errors import ConfigError
from reeldrop.base.names import SHEET_NAME
from reeldrop.commands import exit_codes, output
from reeldrop.store import history
from reeldrop.video import identity, signing, synthetic

if TYPE_CHECKING:
    from reeldrop.config.config import Config

SLACK = 1 << 20
"""Upper bound on the bytes of a video besides its pictures and settings: a signature, and 40 s of
sound, which a copy may have lost."""

_STATES = {"Valid": "valid", "Trusted": "valid", signing.EXPIRED: "expired"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a file.

    claim: what it says of itself, in words; anybody can write that
    signature: `valid`, `broken`, `none`, `expired` if it holds, but its certificate has ended, or
        why it is not known
    signer: the organisation in the certificate of a signature; it is not checked who that is
    published: the file of the results that it is a copy of, or the video that has the same
        pictures; empty if there is none
    """

    file: str
    claim: str
    signature: str
    signer: str = ""
    published: str = ""


def verify_files(config: Config | None, files: Sequence[Path], *, as_json: bool) -> int:
    """Print a verdict on each file, and return the exit code.

    It is 1 if a signature is broken, or a file can't be read: that is noted, and the others follow.

    config: where the results are; None if there is no config.yaml here
    """
    verdicts = []
    for file in files:
        try:
            verdicts.append(_verdict(file, config))
        except OSError as error:
            output.note(f"reeldrop: {file}: {error.strerror}")
    if as_json:
        output.print_json([dataclasses.asdict(verdict) for verdict in verdicts])
    else:
        rows = [(v.file, v.claim, _signed(v), v.published or "none of ours") for v in verdicts]
        output.print_rows(rows, ("file", "claims to be", "signature", "same pictures as"))
    is_bad = len(verdicts) < len(files) or any(v.signature == "broken" for v in verdicts)
    return exit_codes.FAILED if is_bad else 0


def _verdict(file: Path, config: Config | None) -> Verdict:
    """Return the verdict on a file.

    Raises:
        OSError: it can't be read.
    """
    claim = synthetic.claim(file)
    signature, signer = _signature(file)
    published = _published(file, config) if config is not None else ""
    return Verdict(str(file), _in_words(claim), signature, signer, published)


def _in_words(claim: synthetic.Claim) -> str:
    if not claim.source_type:
        return "nothing"
    if not claim.is_synthetic:
        return claim.source_type
    parts = (("by", claim.model), ("with", claim.software))
    return " ".join(["synthetic", *(f"{word} {name}" for word, name in parts if name)])


def _signed(verdict: Verdict) -> str:
    return f"{verdict.signature}, of {verdict.signer}" if verdict.signer else verdict.signature


def _signature(file: Path) -> tuple[str, str]:
    """Return whether a file's signature holds, and whose it is."""
    kind = file.suffix[1:].lower().replace("jpeg", "jpg")
    if kind not in signing.KINDS:
        return "none", ""  # the format can have none
    try:
        found = signing.claims(file, kind)
    except (ConfigError, signing.SigningError) as error:
        return f"not known: {error}", ""
    if found is None:
        return "none", ""
    return _STATES.get(found["state"], "broken"), found["signer"]


def _published(file: Path, config: Config) -> str:
    """Return the path of the published file that this is a copy of, or has the pictures of.

    Of posters and sheets only unchanged copies are found. Empty if there is none.
    """
    suffix = file.suffix.lower()
    copies = (path for path in _all_published(config, suffix) if _is_copy(path, file))
    return next(map(str, itertools.chain(copies, _with_same_pictures(file, suffix, config))), "")


def _all_published(config: Config, suffix: str) -> Iterator[Path]:
    """Yield the paths that videos, posters and sheets with a suffix have, or would have."""
    folders = set[Path]()
    for _, sidecar in history.sidecars(config.results, config.failed):
        yield sidecar.with_suffix(suffix)
        if sidecar.parent not in folders:
            folders.add(sidecar.parent)
            yield from sidecar.parent.glob(f"{SHEET_NAME}*{glob.escape(suffix)}")


def _with_same_pictures(file: Path, suffix: str, config: Config) -> Iterator[Path]:
    if suffix not in identity.DEMUXERS:
        return
    try:
        shape, digest, size = identity.shape(file), identity.digest(file), identity.size(file)
        candidates = _of_like_size(config, suffix, size, file.stat().st_size)
    except identity.UNREADABLE:
        return
    yield from (path for path in candidates if _is_same(path, shape, digest))


def _of_like_size(config: Config, suffix: str, pictures: int, own: int) -> list[Path]:
    """Return the published videos whose size allows for the pictures, the most alike first.

    Opening a video takes a millisecond, and there may be ten thousands. A copy has lost or got some
    metadata or sound.

    pictures, own: how many bytes the pictures have, and the file that is looked for
    """
    found = []
    for _, sidecar in history.sidecars(config.results, config.failed):
        with contextlib.suppress(OSError):
            status = (video := sidecar.with_suffix(suffix)).lstat()
            most = 2 * pictures + SLACK + 4 * sidecar.lstat().st_size
            if stat.S_ISREG(status.st_mode) and pictures <= status.st_size <= most:
                found.append((abs(status.st_size - own), video))
    return [video for _, video in sorted(found)]


def _is_copy(path: Path, file: Path) -> bool:
    with contextlib.suppress(OSError):
        status = path.lstat()
        is_like = stat.S_ISREG(status.st_mode) and status.st_size == file.stat().st_size
        return is_like and filecmp.cmp(path, file, shallow=False)
    return False


def _is_same(path: Path, shape: tuple[int, int, int], digest: str) -> bool:
    try:
        return identity.shape(path) == shape and identity.digest(path) == digest
    except identity.UNREADABLE:
        return False
