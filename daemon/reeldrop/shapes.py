"""What a denoiser is called with, but for the values of tensors: what a faster form is made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from reeldrop.unet3d import Call


class Tensor(NamedTuple):
    """All of a tensor but its values."""

    size: torch.Size
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Shape:
    """The arguments of a call by name, but for the tensors' values.

    `leaves` are the arguments in a row, and `tree` tells how they hang together; `call` is what the
    parts are told besides. `sizes` are for the log.
    """

    leaves: tuple[Tensor | float | str | None, ...]
    tree: pytree.TreeSpec
    call: tuple[int, bool] | None
    sizes: dict[str, list[int]] = field(compare=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any], call: Call | None) -> Shape:
        """Return the shape of a call. `call` is the record of it that the parts heed, if they do.

        Raises:
            TypeError: there is something that may be another the next time, though it looks alike.
        """
        leaves, tree = pytree.tree_flatten(dict(arguments))
        for one in leaves:
            if not (one is None or isinstance(one, torch.Tensor | bool | int | float | str)):
                raise TypeError(f"it is called with a {type(one).__name__}")
        tensors = {k: one for k, one in arguments.items() if isinstance(one, torch.Tensor)}
        return cls(
            leaves=tuple(
                Tensor(one.shape, one.dtype, one.device) if isinstance(one, torch.Tensor) else one
                for one in leaves
            ),
            tree=tree,
            call=dataclasses.astuple(call) if call else None,
            sizes={name: list(one.shape) for name, one in tensors.items() if one.shape},
        )

    def arguments(self, device: torch.device | None = None) -> dict[str, Any]:
        """Return arguments of this shape, of zeros; all of them on the `device`, if given."""
        leaves = [
            torch.zeros(one.size, dtype=one.dtype, device=device or one.device)
            if isinstance(one, Tensor)
            else one
            for one in self.leaves
        ]
        made: dict[str, Any] = pytree.tree_unflatten(leaves, self.tree)
        return made
