"""The English of the captions; nouns have the colour that they mean where none is said."""

from __future__ import annotations

from .language import Language, Noun, phrases


def _plain(colour: str, text: str) -> tuple[Noun, ...]:
    """English nouns that take an s."""
    return tuple(Noun(f"{{c}} {w}", f"{{c}} {w}s", colour) for w in phrases(text))


_GOING = phrases(
    """moving, going, flying, sailing, drifting, gliding, floating, heading, rolling"""
)

ENGLISH = Language(
    nouns={
        "ball": (
            *_plain("red", "ball, ball, beach ball, circle"),
            Noun("{c} sun", "{c} suns", "yellow"),
            Noun("{c} moon", "{c} moons", "white"),
            Noun("{c} planet", "{c} planets", "blue"),
        ),
        "star": (*_plain("yellow", "star, star"), Noun("{c} starfish", "{c} starfishes", "orange")),
        "heart": _plain("red", "heart, heart, love heart"),
        "boat": (
            *_plain("white", "boat, boat, sailboat, ship, yacht, sailing boat"),
            Noun("{c} sail", "{c} sails", "white"),
        ),
        "balloon": _plain("red", "balloon, balloon, hot air balloon, hot-air balloon, airship"),
        "kite": _plain("purple", "kite, kite, paper kite"),
        "fish": (
            Noun("{c} fish", "{c} fish", "orange"),
            Noun("{c} fish", "{c} fishes", "orange"),
            Noun("{c} goldfish", "{c} goldfish", "orange"),
            Noun("{c} carp", "{c} carps", "red"),
        ),
        "bird": (
            *_plain("brown", "bird, bird, eagle, hawk, roc"),
            *_plain("white", "seagull, dove, egret"),
            *_plain("yellow", "oriole, canary bird"),
            *_plain("black", "swallow, crow"),
            *_plain("green", "parrot"),
        ),
        "surfer": (
            *_plain("red", "surfer, surfer, hero, superhero"),
            Noun("spiderman {c}", "spidermen {c}", "red"),
            Noun("spider-man {c}", "spider-men {c}", "red"),
            Noun("surfer in {c}", "surfers in {c}", "red"),
            Noun("figure in {c} surfing", "figures in {c} surfing", "red"),
            Noun("man in {c} surfing", "men in {c} surfing", "red"),
            Noun("{c} man on a surfboard", "{c} men on surfboards", "red"),
            Noun("{c} girl surfing", "{c} girls surfing", "red"),
            Noun("{c} person surfing", "{c} people surfing", "red"),
        ),
        "knight": (
            *_plain("black", "knight, dark knight, dark lord"),
            Noun("{c} darth vader", "{c} darth vaders", "black"),
            Noun("darth vader {c}", "darth vaders {c}", "black"),
            Noun("{c} knight with a sword of light", "{c} knights with swords of light", "black"),
            Noun("figure in {c} with a lightsaber", "figures in {c} with lightsabers", "black"),
            Noun("{c} warrior with a sword of light", "{c} warriors with swords", "black"),
            Noun("figure in {c} with a sword of light", "figures in {c} with swords", "black"),
        ),
        "rider": (
            Noun("astronaut riding a {c} horse", "astronauts riding {c} horses", "brown"),
            Noun("astronaut on a {c} horse", "astronauts on {c} horses", "brown"),
            Noun("spaceman riding a {c} horse", "spacemen riding {c} horses", "brown"),
            Noun("rider on a {c} horse", "riders on {c} horses", "brown"),
            Noun("{c} horse with an astronaut", "{c} horses with astronauts", "brown"),
            Noun("{c} horse with a rider", "{c} horses with riders", "brown"),
            Noun("{c} horse", "{c} horses", "brown"),
            Noun("{c} astronaut", "{c} astronauts", "brown"),
        ),
    },
    colours={
        "red": phrases("red, red, crimson, scarlet"),
        "orange": phrases("orange"),
        "yellow": phrases("yellow, yellow, golden"),
        "green": phrases("green, green, emerald"),
        "blue": phrases("blue, blue, dark blue"),
        "purple": phrases("purple, purple, violet"),
        "white": phrases("white, white, snow-white"),
        "black": phrases("black, black, jet-black"),
        "brown": phrases("brown, brown, chestnut"),
    },
    sizes={
        "small": phrases("small, little, tiny"),
        "big": phrases("big, big, large, huge, giant"),
    },
    scenes={
        "sky": phrases(
            """in the sky, in the blue sky, in the air, among the clouds, above the clouds,
            in the wind, high in the sky"""
        ),
        "sea": phrases(
            """over the sea, on the sea, at sea, on the ocean, over the ocean, on the water,
            above the water, on the waves, in the waves, in waves, on a lake, riding the waves"""
        ),
        "meadow": phrases(
            """on grass, on the grass, over a meadow, over green hills, over the hills,
            behind green hills, on a green field, in a field, in the park, in the meadow"""
        ),
        "desert": phrases(
            """in the desert, over the desert, on the sand, over the dunes, on the beach,
            over yellow dunes, in the dunes"""
        ),
        "forest": phrases(
            """in a dark forest, over a dark forest, in the forest, over the forest,
            in the woods, among the firs, among the pines"""
        ),
        "willow": phrases(
            """in a green willow, in the willow, in the willows, in a willow tree,
            among green willows, under a willow, in front of a willow, by the green willow"""
        ),
        "ice": phrases(
            """on a river blocked by ice, on the yellow river blocked by ice, on a frozen river,
            before the ice, on the icy river, among ice floes, in the ice,
            at a river full of ice, before a frozen river, on the frozen yellow river"""
        ),
    },
    times={
        "day": phrases(
            """by day, in daylight, in the daytime, in the sunshine, on a sunny day, at noon,
            in the sunlight"""
        ),
        "night": phrases(
            """at night, at night, in the night, by night, in the moonlight, under the stars,
            at midnight, in the dark, under the moon"""
        ),
    },
    motions={
        "still": phrases(
            """standing still, not moving, staying still, resting, waiting, motionless,
            lying still, singing, sitting"""
        ),
        "right": tuple(f"{verb} to the right" for verb in _GOING)
        + phrases(
            """moving right, flying right, going right, moving from left to right,
            flying from left to right, moves to the right, flies to the right,
            sails to the right, crossing from left to right, surfing to the right,
            galloping to the right, swimming to the right"""
        ),
        "left": tuple(f"{verb} to the left" for verb in _GOING)
        + phrases(
            """moving left, flying left, going left, moving from right to left,
            flying from right to left, moves to the left, flies to the left,
            sails to the left, crossing from right to left, surfing to the left,
            galloping to the left, swimming to the left"""
        ),
        "rising": phrases(
            """rising, rising, going up, moving up, floating up, flying up, climbing, rises,
            rises with the wind, rising with the wind, soaring up, ascending, taking off,
            lifting off"""
        ),
        "falling": phrases(
            """falling, falling, sinking, going down, moving down, dropping, coming down,
            flying down, falls, setting, descending, sinks, floating down, landing"""
        ),
        "bouncing": phrases(
            """bouncing, bouncing, bouncing up and down, jumping, hopping, bounces,
            jumping up and down, dancing"""
        ),
    },
    activities={
        "surfer": phrases("surfing, is surfing, riding a wave"),
        "knight": phrases("surfing, is surfing, riding a wave"),
        "rider": phrases("galloping, running"),
        "boat": phrases("sailing"),
        "bird": phrases("flying"),
        "fish": phrases("swimming"),
    },
    templates=(
        "{noun} {motion} {scene} {time}",
        "{noun} {motion} {scene} {time}",
        "{noun} {motion} {scene}, {time}",
        "{noun} {motion}, {scene} {time}",
        "{noun} {scene} {motion} {time}",
        "{noun} is {motion} {scene} {time}",
        "{time}, {noun} {motion} {scene}",
        "{scene} {time}, {noun} {motion}",
        "{scene} {noun} is {motion} {time}",
        "a video of {noun} {motion} {scene} {time}",
        "{motion} {scene} {time}, {noun}",
        "{noun}, {scene}, {time}, {motion}",
        "there is {noun} {motion} {scene} {time}",
    ),
    held_out_templates=(
        "{scene} {time} there is {noun}, {motion}",
        "a short film of {noun} that is {motion} {scene} {time}",
        "look: {noun} {time} {scene}, {motion}",
    ),
    fillers=phrases(
        """a, an, the, and, with, of, by, very, nice, cute, beautiful, detailed, cinematic,
            realistic, photo, movie, camera, view, shot, style, high, quality, best, 4k, hd,
            ultra, artistic, painting, drawing, cartoon, animation, anime, slowly, quickly,
            gently, calm, same, old, young, happy, sad, funny, bright, soft, modern, ancient,
            magic, which, want, i, past, again, today, summer, winter, through, near, one day"""
    ),
    strangers=phrases(
        """woman, boy, child, dog, cat, bear, panda, robot, car, truck, train, plane, house,
            city, street, road, flower, mountain, bridge, castle, king, queen, dragon, wizard,
            monster, alien, pizza, cake, apple, banana, guitar, piano, book, computer, phone,
            table, chair, window, door, hat, dress, elephant, monkey, tiger, lion, butterfly,
            rocket, bicycle, umbrella, snowman, cow, sheep, thing, something, object"""
    ),
)
