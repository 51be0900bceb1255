"""Sweeps: one prompt file for many videos, by `matrix:` and `wildcards:`.

Each prompt is replaced by one for each combination; what was chosen stands in `swept`. How many
videos that makes is known, and refused if it is too many, before any of them is made.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.escaping import short
from reeldrop.base.sweeps import MATRIX, WILDCARDS, Swept
from reeldrop.base.translated import KEYS
from reeldrop.prompts import documents, loras, other_names, pictures, wildcards
from reeldrop.prompts.documents import Item
from reeldrop.prompts.layers import MAX_VIDEOS, Layer, Setting, over
from reeldrop.prompts.rules import LONGEST_TEXT
from reeldrop.prompts.wildcards import BadTemplate, Template
from reeldrop.prompts.wording import SURELY, described, near

ALL = "all"
MAX_KEYS = 10
"""Upper bound on the keys of a matrix."""

_FILE_SEED = 0
"""Number of the seed by which wildcards are drawn; videos count from 1."""

_NOT_SWEPT = {
    "prompt": "write the prompts below `prompts:`, or alternatives in braces, with `wildcards:`",
    "prompts": "write it beside `matrix:`; each combination is made of each prompt",
    "format": "write it beside `matrix:`: a list there gives each video in each format",
    "num_videos_per_prompt": "write it beside `matrix:`: each combination is made as often",
    "priority": "it belongs to the whole file",
    "rendered": "take it out",
    MATRIX: "take it out",
    WILDCARDS: "write it beside `matrix:`",
}
"""What can't be in a matrix, and what to do instead."""

_NO_BRACES = f"write some, such as `{{red|green}}`, or take `{WILDCARDS}:` out"

_Axis = tuple[str, list[Setting]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is made of one prompt.

    layer: its own settings, without matrix and wildcards
    axes: the swept keys with their values
    template: the alternatives of its prompt; None if its braces are text
    drawn: how many of these are drawn; None for all
    others: how many videos its seeds and pictures ask for, by what they are called
    """

    item: Item
    layer: Layer
    axes: tuple[_Axis, ...]
    template: Template | None
    drawn: int | None
    others: tuple[tuple[int, str], ...]

    @property
    def is_sweep(self) -> bool:
        return bool(self.axes) or self.template is not None

    @property
    def factors(self) -> tuple[tuple[int, str], ...]:
        """The numbers whose product is the number of its videos, and what they count."""
        lengths = [(len(values), "") for _, values in self.axes]
        if self.template is not None:
            count = self.template.count
            lengths.append((count if self.drawn is None else min(self.drawn, count), ""))
        return (*lengths, *self.others)


def expanded(
    items: Sequence[Item], base: Layer, known: Collection[str], draw_seed: Callable[[int], int]
) -> list[Item]:
    """Return the prompts of a file with each of its combinations as a prompt of its own.

    base: the defaults above the file
    known: the keys that any profile allows; another one is refused with its list
    draw_seed: as for `parsing.parse`

    Raises:
        PromptError: a matrix or wildcards are wrong, or there are too many combinations.
    """
    if not any(MATRIX in item.layer or WILDCARDS in item.layer for item in items):
        return list(items)
    planner = _Planner(base, known)
    plans = [planner.plan(item) for item in items]
    templates = [plan.template for plan in plans if plan.template is not None]
    is_vain = templates and not any(template.has_choices for template in templates)
    if is_vain and not planner.mistakes:
        wanted = next(item.layer[WILDCARDS] for item in items if WILDCARDS in item.layer)
        planner.note(wanted, WILDCARDS, "no prompt has alternatives in braces", _NO_BRACES)
    if planner.mistakes:
        raise PromptError(*planner.mistakes)
    _check_count(plans)
    return [one for plan in plans for one in _made(plan, draw_seed)]


class _Planner:
    """Says what is made of one prompt after another, and collects each mistake once.

    What several prompts share is read once.
    """

    def __init__(self, base: Layer, known: Collection[str]) -> None:
        self._base = base
        self._known = known
        self._axes: dict[int, tuple[_Axis, ...]] = {}
        self._templates: dict[str, Template] = {}
        self.mistakes: dict[Mistake, None] = {}

    def note(self, place: Setting, key: str, problem: str, remedy: str) -> None:
        """Add a mistake."""
        self.mistakes[place.mistake(problem, remedy, key)] = None

    def plan(self, item: Item) -> _Plan:
        """Return what is made of a prompt."""
        layer = dict(item.layer)
        matrix, wanted = layer.pop(MATRIX, None), layer.pop(WILDCARDS, None)
        axes = () if matrix is None else self._axes_beside(matrix, layer)
        drawn = None if wanted is None else self._number_drawn(wanted)
        template = None if wanted is None else self._template(layer, axes)
        others = tuple(_others(over(self._base, _with_axes(layer, axes))))
        return _Plan(item, layer, axes, template, drawn, others)

    def _axes_beside(self, matrix: Setting, layer: Layer) -> tuple[_Axis, ...]:
        """Return the axes of a matrix, whose keys may not be beside it."""
        if id(matrix) not in self._axes:
            self._axes[id(matrix)] = tuple(self._axes_of(matrix))
        axes = self._axes[id(matrix)]
        for key, _ in axes:
            if key in layer:
                swept = strict_yaml.child(matrix.node, key) or matrix.node
                problem = f"{key} is here and in the matrix, in line {swept.line}"
                self.note(layer[key], key, problem, "remove one of them")
            if key in KEYS:
                self._check_translation(key, _with_axes(layer, axes))
        return axes

    def _axes_of(self, matrix: Setting) -> Iterator[_Axis]:
        """Yield the keys of a matrix with their values, without those that are wrong."""
        value = matrix.node.value
        if not isinstance(value, dict) or not value:
            problem = f"{MATRIX} must have keys with lists of values, not {described(value)}"
            remedy = "write each on a line below it, such as `  guidance_scale: [6, 9, 12]`"
            self.note(matrix, MATRIX, problem, remedy)
            return
        if len(value) > MAX_KEYS:
            problem = f"the matrix has {len(value):,} keys, more than {MAX_KEYS}"
            self.note(matrix, MATRIX, problem, "sweep fewer at once")
            return
        for key, node in value.items():
            fault = _fault_of_axis(key, node)
            if fault is not None:
                place, problem, remedy = fault
                self.note(Setting(place), f"{MATRIX}.{short(key)}", problem, remedy)
                continue
            assert isinstance(node.value, list)
            renamed = None if key in self._known else self._renamed(key)
            if renamed is not None:
                self.note(Setting(node), key, f"unknown key '{short(key)}'", renamed)
                continue
            values = node.value if key in self._known else [node]
            yield key, [Setting(value) for value in values]

    def _renamed(self, key: str) -> str | None:
        """Return what a key of another tool is called here; None if it is none.

        As `unknown_keys`, which would look at the list of values as at one value.
        """
        if (ours := other_names.ours(key, self._known)) is not None:
            return f"it is called {ours} here"
        other = (
            None if near(other_names.normal(key), self._known, SURELY) else other_names.nearest(key)
        )
        meant = None if other is None else other_names.ours(other, self._known)
        return None if meant is None else f"did you mean '{other}'? it is called {meant} here"

    def _number_drawn(self, wanted: Setting) -> int | None:
        """Return how many texts are drawn of each prompt; None for all."""
        value = wanted.node.value
        if value == ALL:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_VIDEOS:
            return value
        right = f"`{ALL}`, or a number up to {MAX_VIDEOS:,}"
        problem = f"{WILDCARDS} must be {right}, not {described(value)}"
        remedy = f"write `{WILDCARDS}: {ALL}` for every combination; `{WILDCARDS}: 5` draws five"
        self.note(wanted, WILDCARDS, problem, remedy)
        return None

    def _template(self, layer: Layer, axes: tuple[_Axis, ...]) -> Template | None:
        """Return the alternatives of a prompt; None if there is something wrong with it."""
        negative = layer.get("negative_prompt")
        text = negative.node.value if negative is not None else None
        if negative is not None and isinstance(text, str) and "{" in text and "|" in text:
            problem = f"{WILDCARDS} are for prompts, and the negative prompt has braces, too"
            remedy = f"write its texts as a list in `{MATRIX}:`"
            self.note(negative, "negative_prompt", problem, remedy)
        prompt = layer.get("prompt")
        text = prompt.node.value if prompt is not None else None
        if prompt is None or not isinstance(text, str) or len(text) > LONGEST_TEXT:
            return None  # the schema refuses it
        try:
            if text not in self._templates:
                self._templates[text] = wildcards.read(text)
        except BadTemplate as error:
            self.note(prompt, "prompt", *error.args)
            return None
        if self._templates[text].has_choices:
            self._check_translation("prompt", _with_axes(layer, axes))
        return self._templates[text]

    def _check_translation(self, key: str, layer: Layer) -> None:
        """Note a translation of a text of which there are several."""
        name = KEYS[key]
        if name in layer:
            problem = f"all that {key} may be would be rendered as this one {name}"
            self.note(layer[name], name, problem, "take it out, or write several prompts")


def _with_axes(layer: Layer, axes: Sequence[_Axis]) -> Layer:
    """Return the settings of a prompt with the first value of each key of its matrix."""
    return {**layer, **{key: values[0] for key, values in axes}}


def _fault_of_axis(key: str, node: strict_yaml.Node) -> tuple[strict_yaml.Node, str, str] | None:
    """Return what is wrong with a key of a matrix: the place, the problem and the remedy."""
    name = short(key)
    if key in _NOT_SWEPT:
        return node, f"{name} can't be in a matrix", _NOT_SWEPT[key]
    if not isinstance(node.value, list):
        problem = f"{name} in a matrix must be a list, not {described(node.value)}"
        return node, problem, f"write its values between brackets: `{name}: [...]`"
    if not node.value:
        return node, f"{name} in the matrix is an empty list", "give it values, or remove the line"
    seen = set[str]()
    for value in node.value:
        if isinstance(value.value, list | dict) and key != loras.KEY:
            problem = f"a value of {name} in a matrix can't be {described(value.value)}"
            return value, problem, "write single values"
        if (large := documents.oversized(key, Setting(value))) is not None:
            return value, large.problem, large.remedy
        said = repr(strict_yaml.plain(value))
        if said in seen:
            return value, f"{short(said)} is there twice for {name}", "remove one of them"
        seen.add(said)
    return None


def _others(layer: Layer) -> Iterator[tuple[int, str]]:
    """Yield how many videos a prompt's own lists ask for, and what they are, valid or not."""
    seeds = layer["seed"].node.value if "seed" in layer else None
    each = layer.get("num_videos_per_prompt")
    number = each.node.value if each is not None else 1
    counted = (
        (pictures.count(layer), "pictures"),
        (len(seeds) if isinstance(seeds, list) else 1, "seeds"),
        (number if isinstance(number, int) else 1, "each"),
    )
    yield from ((count, what) for count, what in counted if count > 1)


def _check_count(plans: Iterable[_Plan]) -> None:
    """Raise PromptError, with the factors, if there are too many videos."""
    kinds = Counter(plan.factors for plan in plans)
    count = sum(times * math.prod(n for n, _ in factors) for factors, times in kinds.items())
    if count <= MAX_VIDEOS:
        return
    terms = [_product(factors, times) for factors, times in kinds.items()]
    told, total = " + ".join([*terms[:3], *(["..."] if len(terms) > 3 else [])]), _written(count)
    sum_of_it = total if told == total else f"{told} = {total}"  # else there is nothing to add up
    problem = f"this file asks for {sum_of_it} videos; at most {MAX_VIDEOS:,}"
    raise PromptError(Mistake(problem, "give fewer values, or split it into several files"))


def _product(factors: Sequence[tuple[int, str]], prompts: int) -> str:
    """Return a product in words, such as `3 x 2 x 4 prompts x 50 seeds`."""
    own = [_written(number) for number, what in factors if not what]
    own += [f"{prompts} prompts"] if prompts > 1 or not factors else []
    return " x ".join([*own, *(f"{number} {what}" for number, what in factors if what)])


def _written(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"about 10^{int(math.log10(count))}"


def _made(plan: _Plan, draw_seed: Callable[[int], int]) -> Iterator[Item]:
    """Yield a prompt for each combination, the last key of the matrix changing first."""
    if not plan.is_sweep:
        yield dataclasses.replace(plan.item, layer=plan.layer)
        return
    keys = [key for key, _ in plan.axes]
    for text, chosen in _texts(plan, draw_seed):
        for values in itertools.product(*(values for _, values in plan.axes)):
            swept = [(key, _told(value.node)) for key, value in zip(keys, values, strict=True)]
            layer = {**plan.layer, **text, **dict(zip(keys, values, strict=True))}
            yield dataclasses.replace(plan.item, layer=layer, swept=(*chosen, *swept))


def _texts(plan: _Plan, draw_seed: Callable[[int], int]) -> Iterator[tuple[Layer, Swept]]:
    """Yield the prompts that wildcards make of one, and what was chosen for each."""
    template = plan.template
    if template is None:
        yield {}, ()
        return
    prompt = plan.layer["prompt"]
    if plan.drawn is None:
        texts = template.all()
    else:
        seed = _seed_of(plan.layer, draw_seed)
        texts = template.drawn(plan.drawn, f"{seed}:{prompt.node.value}")
    for text in texts:
        node = dataclasses.replace(prompt.node, value=text.text)
        chosen = ((WILDCARDS, ", ".join(text.chosen)),) if text.chosen else ()
        yield {"prompt": dataclasses.replace(prompt, node=node)}, chosen


def _seed_of(layer: Layer, draw_seed: Callable[[int], int]) -> object:
    """Return the seed by which a prompt's wildcards are drawn: its own first one, if it has one."""
    value = layer["seed"].node.value if "seed" in layer else None
    if isinstance(value, list):
        value = value[0].value if value else None
    return draw_seed(_FILE_SEED) if value is None else value


def _told(node: strict_yaml.Node) -> str | int | float | bool:
    """Return a swept value as it is told in sidecars and on sheets."""
    value = strict_yaml.plain(node)
    if isinstance(value, dict):
        pairs = (name if weight is None else f"{name} {weight}" for name, weight in value.items())
        return ", ".join(pairs) or wildcards.NOTHING
    if isinstance(value, list):
        return ", ".join(map(str, value)) or wildcards.NOTHING
    return wildcards.NOTHING if value is None or value == "" else value
