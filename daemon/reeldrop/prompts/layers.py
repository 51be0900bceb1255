"""Settings of a file, each with its place, in layers: a later layer overrides an earlier one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.prompts.faults import Fault

MAX_VIDEOS = 1000


@dataclass(frozen=True, slots=True)
class Setting:
    """A key's value with its place; `file` is empty for the prompt file itself.

    notes: what the author should know about how it was read
    mistakes: why it certainly is not what the author meant
    """

    node: strict_yaml.Node
    file: str = ""
    notes: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()

    def mistake(
        self, problem: str, remedy: str, key: str, item: int | str | None = None
    ) -> Mistake:
        """Return a mistake with the place of this setting, or of an item in it."""
        below = None if item is None else strict_yaml.child(self.node, item)
        node = below or self.node
        return Mistake(problem, remedy, node.line, node.column, key, self.file)


Layer = dict[str, Setting]


def merge(*layers: Layer) -> Layer:
    """Merge layers key by key; later ones win."""
    return {key: setting for layer in layers for key, setting in layer.items()}


def over(*files: Layer) -> Layer:
    """Merge the layers of a file and of the defaults above it, the farthest first.

    One with a seed says by itself how many videos there are.
    """
    found: Layer = {}
    for layer in files:
        if "seed" in layer:
            found.pop("num_videos_per_prompt", None)
        found |= layer
    return found


def placed(fault: Fault, layer: Layer) -> Mistake:
    """Return a fault with its place: that of the setting, or of the prompt if it is not given."""
    if fault.key in layer:
        mistake = layer[fault.key].mistake(fault.problem, fault.remedy, fault.key, fault.item)
        return dataclasses.replace(mistake, example=fault.example)
    own = (setting.node.line for setting in layer.values() if not setting.file)
    return Mistake(fault.problem, fault.remedy, min(own, default=None), key=fault.key)


def line_of(layer: Layer) -> int | None:
    """Return the line of a prompt's text; None if it has none."""
    return layer["prompt"].node.line if "prompt" in layer else None


def check_count(count: int, line: int | None = None) -> None:
    """Raise PromptError if a file asks for no video, or for too many; from `line` on."""
    if count == 0:
        remedy = "write one on a line of its own, or as `prompt: ...` in a YAML file"
        raise PromptError(Mistake("there is no prompt in this file", remedy))
    if count > MAX_VIDEOS:
        problem = f"this file asks for {count:,} videos, more than {MAX_VIDEOS:,}"
        raise PromptError(Mistake(problem, "split it into several files", line))
