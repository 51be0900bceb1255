"""The ways to render, from the fastest to the most economical."""

from __future__ import annotations

import pytest
import torch
from reeldrop.base.errors import is_shortage
from reeldrop.render import memory
from reeldrop.render.memory import Fit


def ways(fit: Fit) -> list[tuple[int, bool, str]]:
    """Return all ways, in order."""
    found = []
    current: Fit | None = fit
    while current is not None:
        found.append((current.batch_size, current.decodes_in_parts, current.placement))
        current = current.more_frugal()
    return found


def test_every_way_is_more_frugal_than_the_one_before() -> None:
    """Fewer prompts first, which costs nothing; offloading is last."""
    expected = [
        (5, False, "cuda"),
        (2, False, "cuda"),
        (1, False, "cuda"),
        (1, True, "cuda"),
        (1, True, "model_offload"),
        (1, True, "sequential_offload"),
    ]
    assert expected == ways(Fit(5, "cuda"))


def test_a_cpu_has_nowhere_to_move_weights_to() -> None:
    """The placement stays."""
    assert [(1, False, "cpu"), (1, True, "cpu")] == ways(Fit(1, "cpu"))


@pytest.mark.parametrize(
    ("room", "each", "expected"),
    [(1000, 100.0, 9), (1000, 90.0, 10), (50, 100.0, 1), (1000, 0.0, 900), (0, 1.0, 1)],
)
def test_as_many_fit_as_there_is_room_for(room: int, each: float, expected: int) -> None:
    """With a tenth of the memory left free; at least one."""
    assert expected == memory.how_many_fit(room, each)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: 1"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False),
        (RuntimeError("expected scalar type Half but found Float"), False),
    ],
)
def test_what_is_a_shortage(error: RuntimeError, expected: bool) -> None:
    """Other errors of the device do not lead to another try."""
    assert expected == is_shortage(error)


def test_an_allocation_that_no_host_can_make_is_a_shortage() -> None:
    """torch's real error on a CPU is recognised."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_shortage(caught.value)
