"""How a render is made to fit the device's memory, from the fastest way to the most frugal.

Only the rule; `renderer` does what it says and remembers what fitted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

_NEXT_PLACEMENT = {"cuda": "model_offload", "model_offload": "sequential_offload"}

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to render: so many prompts at once, the VAE frame by frame or not, placed so."""

    batch_size: int
    placement: str
    decodes_by_frame: bool = False

    def __str__(self) -> str:
        decoding = "frame by frame" if self.decodes_by_frame else "all frames at once"
        prompts = "1 prompt" if self.batch_size == 1 else f"{self.batch_size} prompts"
        return f"{prompts} at once, decoding {decoding}, placement {self.placement}"

    def more_frugal(self) -> Fit | None:
        """Return the next way, which takes less memory; None if this is the last."""
        if self.batch_size > 1:
            return dataclasses.replace(self, batch_size=self.batch_size // 2)
        if not self.decodes_by_frame:
            return dataclasses.replace(self, decodes_by_frame=True)
        placement = _NEXT_PLACEMENT.get(self.placement)
        return None if placement is None else dataclasses.replace(self, placement=placement)


def is_shortage(error: RuntimeError) -> bool:
    """Tell whether an error says that memory ran out, of a GPU or of the host."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)
