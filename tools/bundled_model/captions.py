"""The bundled model's English: how a `Spec` is said, and what is meant by what is left unsaid.

`caption` says everything; `sample_example` also forgets attributes, adds words that mean nothing
and mentions other things, and returns the spec that such a caption stands for. Knows nothing of
drawing or models.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace

import numpy as np

from . import world
from .world import Spec


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


# Each noun with the colour that it has when none is said.
NOUNS: dict[str, dict[str, str]] = {
    "ball": {
        "ball": "red",
        "sun": "yellow",
        "moon": "white",
        "beach ball": "red",
        "circle": "red",
        "planet": "blue",
    },
    "star": {"star": "yellow", "starfish": "orange"},
    "heart": {"heart": "red", "love heart": "red"},
    "boat": dict.fromkeys(("boat", "sailboat", "ship", "yacht", "sailing boat"), "white"),
    "bird": {
        "bird": "blue",
        "seagull": "white",
        "eagle": "blue",
        "swallow": "blue",
        "oriole": "yellow",
        "birds": "blue",
        "orioles": "yellow",
        "dove": "white",
        "parrot": "green",
    },
    "balloon": dict.fromkeys(
        ("balloon", "hot air balloon", "hot-air balloon", "airship", "balloons"), "red"
    ),
}
COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "dark blue"),
    "purple": ("purple", "violet"),
    "white": ("white", "snow-white"),
}
SIZE_WORDS = {
    "small": ("", "", "small", "little", "tiny"),
    "big": ("big", "large", "huge", "giant"),
}
SCENE_WORDS = {
    "sky": _phrases("""
        in the sky, in the blue sky, in the air, among the clouds, above the clouds, in the wind,
        high in the sky"""),
    "sea": _phrases("""
        over the sea, on the sea, at sea, on the ocean, over the ocean, on the water, above the
        water, on the waves, in the waves, on a lake, over the river, surfing, swimming"""),
    "meadow": _phrases("""
        on grass, on the grass, over a meadow, over green hills, behind green hills, over the
        hills, on a green field, in a field, in the park, in the meadow"""),
    "desert": _phrases("""
        in the desert, over the desert, on the sand, over the dunes, on the beach, over yellow
        dunes"""),
    "forest": _phrases("""
        in a dark forest, over a dark forest, in the forest, over the forest, in the woods, among
        the trees, in the jungle"""),
    "night": _phrases("""
        at night, in the night, in the night sky, under the stars, in the dark, in space, in the
        moonlight, at midnight"""),
}
_GOING = _phrases("""
    moving, going, flying, sailing, drifting, gliding, floating, heading, rolling, running,
    travelling""")
MOTION_WORDS = {
    "still": _phrases("""
        standing still, not moving, staying still, resting, waiting, motionless, lying still"""),
    "right": tuple(f"{verb} to the right" for verb in _GOING)
    + _phrases("""
        moving right, flying right, going right, moving from left to right, flying from left to
        right, moves to the right, flies to the right, sails to the right, crossing from left to
        right, riding, driving past"""),
    "left": tuple(f"{verb} to the left" for verb in _GOING)
    + _phrases("""
        moving left, flying left, going left, moving from right to left, flying from right to
        left, moves to the left, flies to the left, sails to the left, crossing from right to
        left"""),
    "rising": _phrases("""
        rising, rising, going up, moving up, floating up, flying up, climbing, rises, soaring up,
        ascending, taking off, lifting off"""),
    "falling": _phrases("""
        falling, sinking, going down, moving down, dropping, coming down, flying down, falls,
        setting, descending, sinks, floating down, landing"""),
    "bouncing": _phrases("""
        bouncing, bouncing, bouncing up and down, jumping, hopping, bounces, jumping up and down,
        dancing"""),
}
NATURAL_SCENE = {"boat": "sea"}
NATURAL_MOTION = {
    "ball": "bouncing",
    "star": "still",
    "heart": "still",
    "boat": "right",
    "bird": "right",
    "balloon": "rising",
}
DEFAULT_NOUN, DEFAULT_SCENE = "balloon", "sky"

TEMPLATES = (
    "{noun} {motion} {scene}",
    "{noun} {motion} {scene}",
    "{noun} {motion} {scene}",
    "{noun} {motion}, {scene}",
    "{noun} {scene} {motion}",
    "{noun} is {motion} {scene}",
    "{scene}, {noun} {motion}",
    "{scene} {noun} is {motion}",
    "a video of {noun} {motion} {scene}",
    "{motion} {scene}, {noun}",
    "{noun}, {scene}, {motion}",
)
# Word orders that only the measurement uses.
HELD_OUT_TEMPLATES = (
    "{scene} there is {noun}, {motion}",
    "a short film of {noun} that is {motion} {scene}",
    "look: {noun} {scene}, {motion}",
)

_FILLERS = _phrases("""
    a, an, the, and, with, of, by, very, nice, cute, beautiful, detailed, cinematic, realistic,
    photo, movie, scene, camera, view, shot, style, high, quality, best, 4k, hd, ultra, artistic,
    painting, drawing, cartoon, animation, anime, slowly, quickly, gently, calm, two, three, many,
    some, one, day, same, singing, old, young, happy, sad, funny, bright, soft, light, modern,
    ancient, magic, which, want, wants, cross, blocked, past, again, today, morning, evening,
    summer, winter, through, near""")
_STRANGERS = _phrases("""
    man, woman, girl, boy, child, person, people, dog, cat, horse, fish, bear, panda, robot,
    astronaut, car, truck, train, plane, house, city, street, road, tree, flower, mountain,
    bridge, castle, king, queen, dragon, knight, wizard, spiderman, superman, batman, hero,
    monster, alien, pizza, cake, apple, banana, guitar, piano, book, computer, phone, table,
    chair, window, door, willow, willows, vader, darth, hat, dress, elephant, monkey, tiger, lion,
    butterfly, rocket, bicycle, umbrella, kite, snowman, cow, sheep""")
_HAN = (0x4E00, 0x9FA5)


@dataclass(frozen=True, slots=True)
class Example:
    """A caption and the clip that it asks for."""

    text: str
    spec: Spec


def _pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[rng.integers(len(options))]


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _noun_phrase(rng: np.random.Generator, size: str, colour: str, noun: str) -> str:
    phrase = _words(size, colour, noun) if rng.random() < 0.85 else _words(colour, size, noun)
    if rng.random() < 0.8:
        article = "an" if phrase[0] in "aeiou" else "a"
        phrase = _words(article if rng.random() < 0.85 else "the", phrase)
    return phrase


def plain_caption(spec: Spec) -> str:
    """Say `spec` in the plainest words; the same for every call."""
    size = "big" if spec.size == "big" else ""
    phrase = _words(size, spec.colour, next(iter(NOUNS[spec.thing])))
    article = "an" if phrase[0] in "aeiou" else "a"
    return _words(article, phrase, MOTION_WORDS[spec.motion][0], SCENE_WORDS[spec.scene][0])


def caption(spec: Spec, rng: np.random.Generator, templates: tuple[str, ...] = TEMPLATES) -> str:
    """Say all of `spec` in words and an order drawn from `rng`."""
    noun = _noun_phrase(
        rng,
        _pick(rng, SIZE_WORDS[spec.size]),
        _pick(rng, COLOUR_WORDS[spec.colour]),
        _pick(rng, list(NOUNS[spec.thing])),
    )
    motion, scene = _pick(rng, MOTION_WORDS[spec.motion]), _pick(rng, SCENE_WORDS[spec.scene])
    return _pick(rng, templates).format(noun=noun, motion=motion, scene=scene)


def sample_example(rng: np.random.Generator) -> Example:
    """Draw a caption as people may type it, and what it stands for; never a held-out spec."""
    while True:
        kind = rng.random()
        example = _strange_example(rng) if kind < 0.04 else _example(rng)
        if not world.is_held_out(example.spec):
            return Example(_dress(rng, example.text), example.spec)


def default_spec() -> Spec:
    """Return what a prompt of nothing but unknown words stands for."""
    motion = NATURAL_MOTION[DEFAULT_NOUN]
    return Spec(DEFAULT_NOUN, NOUNS[DEFAULT_NOUN][DEFAULT_NOUN], DEFAULT_SCENE, motion, "small")


def _strange_example(rng: np.random.Generator) -> Example:
    words = [_stranger(rng) for _ in range(rng.integers(1, 10))]
    return Example(" ".join(words), default_spec())


def _example(rng: np.random.Generator) -> Example:
    """Say a spec, leaving some of it out; what is left out gets its natural value."""
    spec = world.sample_spec(rng)
    thing_said, colour_said = rng.random() > 0.08, rng.random() > 0.15
    motion_said, scene_said = rng.random() > 0.12, rng.random() > 0.12
    noun = _pick(rng, list(NOUNS[spec.thing])) if thing_said else _stranger_noun(rng)
    if not thing_said:
        spec = replace(spec, thing=DEFAULT_NOUN)
    if not colour_said:
        spec = replace(spec, colour=NOUNS[spec.thing].get(noun, NOUNS[DEFAULT_NOUN][DEFAULT_NOUN]))
    if not motion_said:
        spec = replace(spec, motion=NATURAL_MOTION[spec.thing])
    if not scene_said:
        spec = replace(spec, scene=NATURAL_SCENE.get(spec.thing, DEFAULT_SCENE))
    phrase = _noun_phrase(
        rng,
        _pick(rng, SIZE_WORDS[spec.size]),
        _pick(rng, COLOUR_WORDS[spec.colour]) if colour_said else "",
        noun,
    )
    if rng.random() < 0.08:
        phrase = _words(phrase, _company(rng))
    motion = _pick(rng, MOTION_WORDS[spec.motion]) if motion_said else ""
    scene = _pick(rng, SCENE_WORDS[spec.scene]) if scene_said else ""
    template = _pick(rng, TEMPLATES) if motion and scene else "{noun} {motion} {scene}"
    return Example(_words(*template.format(noun=phrase, motion=motion, scene=scene).split()), spec)


def _stranger_noun(rng: np.random.Generator) -> str:
    return _pick(rng, ("thing", "something", "object")) if rng.random() < 0.2 else _stranger(rng)


def _company(rng: np.random.Generator) -> str:
    """Mention another thing, which is not filmed: the first thing wins."""
    colour = (
        _pick(rng, COLOUR_WORDS[_pick(rng, tuple(world.COLOURS))]) if rng.random() < 0.7 else ""
    )
    thing = (
        _pick(rng, list(NOUNS[_pick(rng, world.THINGS)]))
        if rng.random() < 0.4
        else _pick(rng, _STRANGERS)
    )
    return _words(_pick(rng, ("and a", "and the", "with a", "near a", "beside the")), colour, thing)


def _stranger(rng: np.random.Generator) -> str:
    """Draw a word that says nothing about the clip."""
    match rng.integers(6):
        case 0 | 1:
            return _pick(rng, _FILLERS)
        case 2 | 3:
            return _pick(rng, _STRANGERS)
        case 4:
            letters = rng.choice(
                list(string.ascii_lowercase + "aeioueaio"), size=rng.integers(2, 10)
            )
            return "".join(letters)
        case _:
            return "".join(chr(c) for c in rng.integers(*_HAN, size=rng.integers(1, 8)))


def _dress(rng: np.random.Generator, text: str) -> str:
    """Add words that mean nothing, capitals and punctuation."""
    if rng.random() < 0.25:
        words = text.split()
        for _ in range(rng.integers(1, 9 if rng.random() < 0.2 else 4)):
            words.insert(int(rng.integers(len(words) + 1)), _stranger(rng))
        text = " ".join(words)
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + _pick(rng, ("", "", "", ".", "!"))


def held_out_captions(count: int, seed: int) -> list[Example]:
    """Draw captions of combinations, and for a quarter word orders, that were never trained."""
    rng = np.random.default_rng(seed)
    examples = []
    for k in range(count):
        spec = world.sample_spec(rng, held_out=True)
        templates = HELD_OUT_TEMPLATES if k % 4 == 0 else TEMPLATES
        examples.append(Example(caption(spec, rng, templates), spec))
    return examples


def vocabulary_text() -> list[str]:
    """Return every word that the captions are made of, for the tokenizer."""
    nouns = [noun for thing in NOUNS.values() for noun in thing]
    groups = (COLOUR_WORDS, SIZE_WORDS, SCENE_WORDS, MOTION_WORDS)
    said = [phrase for group in groups for phrases in group.values() for phrase in phrases]
    frames = [t.format(noun="", motion="", scene="") for t in TEMPLATES]
    return [
        *nouns,
        *said,
        *frames,
        " ".join(_FILLERS),
        " ".join(_STRANGERS),
        "thing something object beside",
    ]
