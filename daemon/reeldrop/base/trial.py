"""What `reeldrop tune` measures of each optimization, and what it finds fastest: records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """The measurements of one optimization; None if it fails.

    what: its name
    taken: whether it is kept
    why: the reason why it is not taken, or is taken although the frames differ
    seconds: for one video, the minimum over all rounds
    gain: the plain pipeline's seconds over these
    psnr_db, ssim: compare its frames to the plain ones; `psnr_db` is None if they are equal
    compiler_seconds: how long the compiler took
    """

    what: str
    taken: bool
    why: str = ""
    seconds: float | None = None
    gain: float | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    compiler_seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The outcome, in words."""
        if self.seconds is None:
            return self.why
        measured = f"{self.seconds:.3g} s a video, {self.gain:.2f} times as fast as plain"
        near = "" if self.psnr_db is None else f"{self.psnr_db:.0f} dB, SSIM {self.ssim or 0:.4f}, "
        return f"{measured}, {near}{self._how}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The trial as a row of a table: what, seconds, gain, PSNR, SSIM, outcome."""
        if self.seconds is None:
            return (self.what, "", "", "", "", self.why)
        near = "equal" if self.psnr_db is None else f"{self.psnr_db:.0f} dB"
        like = "" if self.ssim is None else f"{self.ssim:.4f}"
        return (self.what, f"{self.seconds:.3g}", f"{self.gain:.2f}", near, like, self._how)

    @property
    def _how(self) -> str:
        compiled = f", compiled in {self.compiler_seconds:.0f} s" if self.compiler_seconds else ""
        return f"{self.why or 'taken'}{compiled}"


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial is done, of `most` at most."""

    trial: Trial
    most: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """All trials are done, and this is fastest.

    speed: the switches of the fast path that are not the profile's own
    batch_size: how many prompts at once
    """

    speed: Mapping[str, bool | str]
    batch_size: int
