"""Take off what ways have put onto a pipeline: its models are as before, bit for bit.

Does not know the ways: it restores what Python and torch know of the models.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from reeldrop.speed.denoisers import parts


class Untouched:
    """The denoisers and the VAE of a pipeline as they are now, with their weights in host memory.

    Not for what is loaded to stay: the weights are kept a second time.
    """

    def __init__(self, pipe: Any) -> None:
        pipe.remove_all_hooks()  # those of offloading come back with the next placement
        modules = [module for part in parts(pipe) for module in part.modules()]
        self._states = [(module, type(module), _copied(vars(module))) for module in modules]
        self._weights = [
            (weight, weight.data.cpu())
            for module in modules
            for weight in (*module._parameters.values(), *module._buffers.values())
            if weight is not None and type(weight.data) is torch.Tensor  # no way is for quantized
        ]

    def restore(self) -> None:
        """Give each module its class, parts, hooks and weights back; place the pipeline again."""
        for module, kind, state in self._states:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(_copied(state))
        for weight, data in self._weights:
            weight.data = data


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a module's attributes; its parts, weights and hooks are in dicts of their own."""
    return {k: v.copy() if type(v) in (dict, OrderedDict) else v for k, v in state.items()}
