"""Captions in both languages: how a `Spec` is said, and what is meant by what is left unsaid.

`caption` says everything; `sample_example` also forgets attributes, adds words that mean nothing
and mentions other things, and returns the spec that such a caption stands for. Knows nothing of
drawing or models.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import world
from .chinese import CHINESE
from .english import ENGLISH
from .language import Language, Noun
from .world import Spec

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
NATURAL_SCENE = {"boat": "sea", "surfer": "sea", "knight": "sea", "fish": "sea", "rider": "meadow"}
NATURAL_MOTION = {
    "ball": "bouncing", "star": "still", "heart": "still", "boat": "right", "balloon": "rising",
    "kite": "rising", "fish": "right", "bird": "right", "surfer": "right", "knight": "right",
    "rider": "right",
}  # fmt: skip
NATURAL_SIZE = dict.fromkeys(world.THINGS, "small") | dict.fromkeys(
    ("surfer", "knight", "rider"), "big"
)
# A thing that belongs into a scene is what is filmed there when no thing is named.
RESIDENTS = {
    "ice": Spec("boat", "brown", "ice", "day", "still", "small", "one"),
    "willow": Spec("bird", "yellow", "willow", "day", "still", "small", "one"),
    "sea": Spec("boat", "white", "sea", "day", "right", "small", "one"),
}
DEFAULT = Spec("balloon", "red", "sky", "day", "rising", "small", "one")

_SURFER = Spec("surfer", "red", "sea", "day", "right", "big", "one")
_RIDER = Spec("rider", "brown", "meadow", "day", "right", "big", "one")
_KNIGHT = replace(_SURFER, thing="knight", colour="black")
_ROC = Spec("bird", "brown", "sky", "day", "rising", "big", "one")
_ORIOLES = Spec("bird", "yellow", "willow", "day", "still", "small", "two")
_ICE = RESIDENTS["ice"]
_SAIL = RESIDENTS["sea"]
# The lines that the examples have, and others' verse that this world can film.
EXAMPLES = {
    "Spiderman is surfing": _SURFER,
    "An astronaut riding a horse": _RIDER,
    "Darth vader surfing in waves": _KNIGHT,
    "Big bird rises with the same wind in one day": _ROC,
    "Two orioles singing green willows": _ORIOLES,
    "I want to cross the Yellow River which is blocked by ice": _ICE,
    "大鹏一日同风起": _ROC,
    "两只黄鹂鸣翠柳": _ORIOLES,
    "欲渡黄河冰塞川": _ICE,
}
VERSES = {
    **EXAMPLES,
    "两个黄鹂鸣翠柳": _ORIOLES,
    "扶摇直上九万里": _ROC,
    "直挂云帆济沧海": _SAIL,
    "海上生明月": Spec("ball", "white", "sea", "night", "rising", "small", "one"),
    "蜘蛛侠冲浪": _SURFER,
    "宇航员骑马": _RIDER,
    "黑武士在浪里冲浪": _KNIGHT,
    "I want to cross the Yellow River, blocked by ice": _ICE,
    "The big bird rises one day with the wind": _ROC,
}


@dataclass(frozen=True, slots=True)
class Example:
    """A caption and the clip that it asks for."""

    text: str
    spec: Spec


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Draw one of some words."""
    return options[rng.integers(len(options))]


def draw_language(rng: np.random.Generator) -> Language:
    """Draw one of the two."""
    return CHINESE if rng.random() < 0.5 else ENGLISH


def _noun_phrase(
    rng: np.random.Generator, language: Language, noun: Noun, count: str, size: str, colour: str
) -> str:
    if language is CHINESE:
        return _chinese_noun_phrase(rng, noun, count, size, colour)
    form = noun.one if count == "one" else noun.two
    if " in {c}" in form:  # dressed in a colour; no one is dressed in a size
        form = f"{size} {form}" if colour else f"{size} {form.replace(' in {c}', '')}"
        size = ""
    words = [size, colour] if rng.random() < 0.85 else [colour, size]
    adjectives = " ".join(filter(None, words))
    phrase = " ".join(form.format(c=adjectives).split())
    if count == "two":
        return pick(rng, ("two", "two", "a pair of", "the two", "2", "a couple of")) + " " + phrase
    if rng.random() < 0.2:
        return phrase
    article = "an" if phrase[0] in "aeiou" else "a"
    return pick(rng, (article, article, article, "the", "one")) + " " + phrase


def _chinese_noun_phrase(
    rng: np.random.Generator, noun: Noun, count: str, size: str, colour: str
) -> str:
    if "穿{c}" in noun.one:
        colour = colour.rstrip("的")  # the clothes have their own
        form = noun.one if colour else noun.one.replace("穿{c}衣服", "")
        dressed, colour = form.format(c=colour), ""
        phrase = size + dressed
    elif noun.one.startswith("{c}"):
        phrase = noun.one.format(c=size + colour if rng.random() < 0.7 else colour + size)
    else:
        phrase = noun.one.format(c=size + colour)
    if count == "two":
        number = pick(rng, ("两", "两", "两", "二", "2", "一对", "一双"))
        return phrase if not number else _counted(rng, number, noun, phrase)
    return _counted(rng, "一", noun, phrase) if rng.random() < 0.7 else phrase


def _counted(rng: np.random.Generator, number: str, noun: Noun, phrase: str) -> str:
    measure = "" if number in ("一对", "一双") else noun.measure[rng.integers(len(noun.measure))]
    return number + measure + phrase


def _fill(language: Language, template: str, **pieces: str) -> str:
    """Put the pieces in place and take away commas and spaces beside what is left unsaid."""
    text = template.format(**pieces)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s*([,，])(\s*[,，])*", r"\1", text)
    text = re.sub(r"^[\s,，]+|[\s,，]+$", "", text)
    return text if language is CHINESE else text.replace(" is is ", " is ")


def caption(
    spec: Spec, rng: np.random.Generator, language: Language, held_out_order: bool = False
) -> str:
    """Say all of `spec` in words and an order drawn from `rng`; day and one may go unsaid."""
    noun = language.nouns[spec.thing][rng.integers(len(language.nouns[spec.thing]))]
    size = pick(rng, language.sizes[spec.size]) if _says_size(spec, rng) else ""
    phrase = _noun_phrase(
        rng, language, noun, spec.count, size, pick(rng, language.colours[spec.colour])
    )
    time = pick(rng, language.times[spec.time])
    return _fill(
        language,
        pick(rng, language.held_out_templates if held_out_order else language.templates),
        noun=phrase,
        motion=pick(rng, language.motions[spec.motion]),
        scene=pick(rng, language.scenes[spec.scene]),
        time=time if spec.time == "night" or rng.random() < 0.3 else "",
    )


def _says_size(spec: Spec, rng: np.random.Generator) -> bool:
    if spec.count == "two":
        return False
    return spec.size != NATURAL_SIZE[spec.thing] or rng.random() < 0.4


def plain_caption(spec: Spec, language: Language = ENGLISH) -> str:
    """Say `spec` in the plainest words; the same for every call."""
    noun = language.nouns[spec.thing][0]
    two, chinese = spec.count == "two", language is CHINESE
    size = "" if two or spec.size == NATURAL_SIZE[spec.thing] else language.sizes[spec.size][0]
    colour = language.colours[spec.colour][0]
    form = noun.two if two else noun.one
    phrase = form.format(c=size + colour if chinese else f"{size} {colour}".strip())
    if chinese:
        number = ("两" if two else "一") + noun.measure[0]
    else:
        number = "two " if two else "an " if phrase[0] in "aeiou" else "a "
    pieces = {
        "noun": number + phrase,
        "motion": language.motions[spec.motion][0],
        "scene": language.scenes[spec.scene][0],
        "time": language.times[spec.time][0] if spec.time == "night" else "",
    }
    return _fill(language, language.templates[0], **pieces)


def sample_example(rng: np.random.Generator) -> Example:
    """Draw a caption as people may type it, and what it stands for; never a held-out spec."""
    while True:
        kind, language = rng.random(), draw_language(rng)
        if kind < 0.03:
            example = Example(_strange_words(rng, language), DEFAULT)
        elif kind < 0.08:
            verse = pick(rng, list(VERSES))
            example = Example(verse, VERSES[verse])
            language = CHINESE if verse[0] > "z" else ENGLISH
        else:
            example = _example(rng, language)
        if not world.is_held_out(example.spec):
            return Example(_dress(rng, example.text, language), example.spec)


def _strange_words(rng: np.random.Generator, language: Language) -> str:
    between = "" if language is CHINESE else " "
    return between.join(_stranger(rng, language) for _ in range(rng.integers(1, 10)))


def _example(rng: np.random.Generator, language: Language) -> Example:
    """Say a spec, leaving some of it out; what is left out gets its natural value."""
    spec = world.sample_spec(rng)
    thing_said, colour_said, size_said = rng.random(3) > (0.06, 0.15, 0.3)
    motion_said, scene_said, time_said = rng.random(3) > (0.12, 0.12, 0.15)
    if not scene_said:
        spec = replace(spec, scene=NATURAL_SCENE.get(spec.thing, "sky"))
    nouns = language.nouns[spec.thing]
    noun = nouns[rng.integers(len(nouns))]
    if not thing_said:
        home = RESIDENTS.get(spec.scene, DEFAULT) if scene_said else DEFAULT
        scene = spec.scene if scene_said else DEFAULT.scene
        spec = replace(spec, thing=home.thing, scene=scene)
        noun = _strange_noun(rng, language, home.colour)
    if not colour_said:
        spec = replace(spec, colour=_natural_colour(spec, noun, thing_said))
    if not motion_said:
        spec = replace(spec, motion=natural_motion(spec.thing, spec.scene))
    if not time_said:
        spec = replace(spec, time="day")
    if not size_said and spec.count == "one":
        spec = replace(spec, size=NATURAL_SIZE[spec.thing])
    size = pick(rng, language.sizes[spec.size]) if size_said and spec.count == "one" else ""
    colour = pick(rng, language.colours[spec.colour]) if colour_said else ""
    phrase = _noun_phrase(rng, language, noun, spec.count, size, colour)
    if rng.random() < 0.06:
        phrase += _company(rng, language)
    activity = pick(rng, language.activities.get(spec.thing, ("",)))
    motion = pick(rng, language.motions[spec.motion]) if motion_said else ""
    if not motion and spec.motion == NATURAL_MOTION[spec.thing] and thing_said:
        motion = activity if rng.random() < 0.6 else ""
    text = _fill(
        language,
        pick(rng, language.templates),
        noun=phrase,
        motion=motion,
        scene=pick(rng, language.scenes[spec.scene]) if scene_said else "",
        time=pick(rng, language.times[spec.time])
        if time_said and (spec.time == "night" or rng.random() < 0.5)
        else "",
    )
    return Example(text, spec)


def natural_motion(thing: str, scene: str) -> str:
    """Return the motion that goes without saying: birds rest in willows, boats wait before ice."""
    resident = RESIDENTS.get(scene)
    if resident is not None and resident.thing == thing:
        return resident.motion
    return NATURAL_MOTION[thing]


def _natural_colour(spec: Spec, noun: Noun, thing_said: bool) -> str:
    resident = RESIDENTS.get(spec.scene)
    if thing_said and spec.scene == "ice" and resident is not None and spec.thing == resident.thing:
        return resident.colour
    return noun.colour


def _strange_noun(rng: np.random.Generator, language: Language, colour: str) -> Noun:
    word = pick(rng, language.strangers)
    if language is CHINESE:
        return Noun("{c}" + word, "{c}" + word, colour, "个只")
    return Noun("{c} " + word, "{c} " + word + "s", colour)


def _company(rng: np.random.Generator, language: Language) -> str:
    """Mention another thing, which is not filmed: the first thing wins."""
    known = language.nouns[pick(rng, world.THINGS)]
    noun = known[rng.integers(len(known))] if rng.random() < 0.4 else None
    noun = noun or _strange_noun(rng, language, "red")
    colour = pick(rng, language.colours[pick(rng, tuple(world.COLOURS))])
    phrase = _noun_phrase(rng, language, noun, "one", "", colour if rng.random() < 0.6 else "")
    if language is CHINESE:
        return pick(rng, ("和", "与", "旁边有", "带着")) + phrase
    return pick(rng, (" and ", " with ", " near ", " beside ")) + phrase


def _stranger(rng: np.random.Generator, language: Language) -> str:
    """Draw a word that says nothing about the clip."""
    match rng.integers(6):
        case 0 | 1 | 2:
            return pick(rng, language.fillers)
        case 3 | 4:
            return pick(rng, language.strangers)
        case _:
            if language is CHINESE:
                return "".join(chr(c) for c in rng.integers(0x4E00, 0x9FA5, rng.integers(1, 4)))
            letters = list(string.ascii_lowercase + "aeioueaio")
            return "".join(rng.choice(letters, size=rng.integers(2, 10)))


def _dress(rng: np.random.Generator, text: str, language: Language) -> str:
    """Add words that mean nothing, capitals and punctuation."""
    extra = rng.integers(1, 7 if rng.random() < 0.2 else 3) if rng.random() < 0.25 else 0
    if language is CHINESE:
        for _ in range(extra):  # only between phrases: inside of one they would change its words
            stranger = _stranger(rng, language)
            text = stranger + text if rng.random() < 0.5 else f"{text}，{stranger}"
        return text + pick(rng, ("", "", "", "。", "！"))
    words = text.split()
    for _ in range(extra):
        words.insert(int(rng.integers(len(words) + 1)), _stranger(rng, language))
    text = " ".join(words)
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + pick(rng, ("", "", "", ".", "!"))


def held_out_captions(count: int, seed: int) -> list[Example]:
    """Draw captions of combinations that were never trained: every other one is Chinese.

    A quarter of each language's is also in word orders that were never trained.
    """
    rng = np.random.default_rng(seed)
    examples = []
    for k in range(count):
        spec = world.sample_spec(rng, held_out=True)
        language = CHINESE if k % 2 else ENGLISH
        examples.append(Example(caption(spec, rng, language, k % 8 < 2), spec))
    return examples


def vocabulary_text() -> list[str]:
    """Return every word that the captions are made of, for the tokenizer."""
    said = [*VERSES, "two a pair of the couple and with near beside one 2"]
    said += ["两二一对双和与旁边有带着个只轮颗艘条叶尾名位匹。！，："]
    for language in LANGUAGES.values():
        nouns = [noun for kinds in language.nouns.values() for noun in kinds]
        said += [form.format(c="") for noun in nouns for form in (noun.one, noun.two)]
        groups = (language.colours, language.sizes, language.scenes, language.times)
        groups += (language.motions, language.activities)
        said += [phrase for group in groups for phrases in group.values() for phrase in phrases]
        pieces = dict.fromkeys(("noun", "motion", "scene", "time"), " ")
        said += [t.format(**pieces) for t in language.templates + language.held_out_templates]
        said += [*language.fillers, *language.strangers]
    return said
