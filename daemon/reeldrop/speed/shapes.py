"""The shape of a denoiser's call: all of its arguments, except the values of tensors.

Compiled forms are made for one shape. Does not compile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from reeldrop.speed.unet3d import Call


class Tensor(NamedTuple):
    """A tensor without its values."""

    size: torch.Size
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Shape:
    """The arguments of a call by name, without the values of tensors.

    leaves, tree: the flattened arguments and their structure
    call: the fields of the `Call` that the denoiser's parts read; None if none reads it
    """

    leaves: tuple[Tensor | float | str | None, ...]
    tree: pytree.TreeSpec
    call: tuple[int, bool] | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any], call: Call | None) -> Shape:
        """Return the shape of a call.

        Raises:
            TypeError: an argument has a type that can't be compared between calls.
        """
        leaves, tree = pytree.tree_flatten(dict(arguments))
        for one in leaves:
            if not (one is None or isinstance(one, torch.Tensor | bool | int | float | str)):
                raise TypeError(f"an argument of its call is a {type(one).__name__}")
        return cls(
            leaves=tuple(
                Tensor(one.shape, one.dtype, one.device) if isinstance(one, torch.Tensor) else one
                for one in leaves
            ),
            tree=tree,
            call=(call.num_frames, call.is_guided) if call else None,
        )

    @property
    def sizes(self) -> dict[str, list[int]]:
        """The sizes of the tensors by name, for the log."""
        named = pytree.tree_unflatten(self.leaves, self.tree)
        tensors = ((name, one) for name, one in named.items() if isinstance(one, Tensor))
        return {name: [*one.size] for name, one in tensors if one.size}

    def arguments(self) -> dict[str, Any]:
        """Return arguments of this shape with tensors of zeros."""
        leaves = [
            torch.zeros(one.size, dtype=one.dtype, device=one.device)
            if isinstance(one, Tensor)
            else one
            for one in self.leaves
        ]
        made: dict[str, Any] = pytree.tree_unflatten(leaves, self.tree)
        return made
