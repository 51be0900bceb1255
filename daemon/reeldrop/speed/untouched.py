"""Remove all optimizations from a pipeline: its models are as before, bit for bit.

Does not know the optimizations: it restores all attributes and weights of the models.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from reeldrop.speed.denoisers import parts


class Untouched:
    """A snapshot of the denoisers and the VAE of a pipeline, with their weights in host memory.

    Only for `tune`: it holds the weights a second time.
    """

    def __init__(self, pipe: Any) -> None:
        pipe.remove_all_hooks()  # offloading adds its hooks again at the next placement
        modules = [module for part in parts(pipe) for module in part.modules()]
        self._states = [(module, type(module), _copied(vars(module))) for module in modules]
        self._weights = [
            (weight, weight.data.cpu())
            for module in modules
            for weight in (*module._parameters.values(), *module._buffers.values())
            if weight is not None and type(weight.data) is torch.Tensor  # quantized: never changed
        ]

    def restore(self) -> None:
        """Restore class, parts, hooks and weights of each module. Then place the pipeline again."""
        for module, kind, state in self._states:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(_copied(state))
        for weight, data in self._weights:
            weight.data = data


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a module's attributes, and of the dicts of its parts, weights and hooks."""
    return {k: v.copy() if type(v) in (dict, OrderedDict) else v for k, v in state.items()}
