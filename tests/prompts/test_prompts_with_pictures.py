"""prompts: which pictures a prompt file names, which each prompt gets, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.prompt_files import CAPABILITIES, TINY
from reeldrop.base.errors import Mistake, NeedsPicture, PromptError
from reeldrop.base.job import DefaultsFile, Prompt
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.prompts.profile_rules import check_profile
from reeldrop.prompts.rules import ModelRules

TAKES = {
    "text": {},
    "first": {"image": True},
    "both": {"image": True, "last_image": False},
    "may": {"image": False},
}
RULES = {
    name: ModelRules(name, replace(CAPABILITIES, pictures=takes), TINY.defaults, TINY.limits)
    for name, takes in TAKES.items()
} | {"unloaded": None}


def parse(
    content: str, name: str = "a.yaml", model: str = "both", pair: str = "", defaults: str = ""
) -> tuple[Prompt, ...]:
    """Return the prompts of a file that is beside a picture of its name, `pair`, if any."""
    above = [DefaultsFile("_defaults.yaml", defaults.encode())] if defaults else []
    found = parsing.parse(name, content.encode(), above, RULES, model, lambda number: number, pair)
    assert found.is_paired == (bool(pair) and any(p.pictures for p in found.prompts))
    return found.prompts


def named(content: str, name: str = "a.yaml", model: str = "both", pair: str = "") -> list[str]:
    """Return the pictures of each prompt of a file, in one line each."""
    return [
        " ".join([prompt.prompt, *(f"{p.key}={p.name}" for p in prompt.pictures)])
        for prompt in parse(content, name, model, pair)
    ]


def refused(content: str, name: str = "a.yaml", model: str = "both", pair: str = "") -> Mistake:
    """Return the first mistake of a file."""
    with pytest.raises(PromptError) as caught:
        parse(content, name, model, pair)
    return caught.value.mistakes[0]


DEALT = {
    "prompt: a\nimage: x.png": ["a image=x.png"],
    "prompt: a\nlast_image: y.webp\nimage: x.PNG": ["a image=x.PNG last_image=y.webp"],
    "prompts: [a, b]\nimage: x.png": ["a image=x.png", "b image=x.png"],
    "prompts: [a, b]\nimage: [x.png]": ["a image=x.png", "b image=x.png"],
    "prompts: [a, b]\nimage: [x.png, y.jpg]": ["a image=x.png", "b image=y.jpg"],
    "prompts: [a, {prompt: b, image: z.png}]\nimage: x.png": ["a image=x.png", "b image=z.png"],
    "prompt: a\nimage: [x.png, y.jpeg]": ["a image=x.png", "a image=y.jpeg"],
    "prompts: [a, b]\nimage: [x.png, y.jpg]\nlast_image: z.png": [
        "a image=x.png last_image=z.png",
        "b image=y.jpg last_image=z.png",
    ],
    "prompt: a\nimage: [x.png, y.jpg]\nlast_image: [v.png, w.png]": [
        "a image=x.png last_image=v.png",
        "a image=y.jpg last_image=w.png",
    ],
    "prompt: a\nimage: x.png\n---\nprompt: b\nimage: y.png": ["a image=x.png", "b image=y.png"],
}


@pytest.mark.parametrize("content", DEALT)
def test_pictures_are_dealt_out_one_by_one(content: str) -> None:
    """One is for all prompts, a list has one for each, and a single prompt takes a whole list."""
    assert DEALT[content] == named(content)


def test_eight_and_eight_give_eight() -> None:
    """Never each picture with each prompt; several seeds ask for several videos all the same."""
    eight = ", ".join(f"{number}.png" for number in range(8))
    texts = ", ".join(f"p{number}" for number in range(8))
    content = f"prompts: [{texts}]\nimage: [{eight}]\n"
    assert [f"p{n} image={n}.png" for n in range(8)] == named(content)
    assert 8 == len(named(f"prompts: [{texts}]\nimage: 0.png\n"))
    assert 16 == len(named(f"{content}seed: [1, 2]\n"))


REFUSED = {
    "prompts: [a, b, c]\nimage: [x.png, y.png]": (2, "names 2 pictures, and there are 3 prompts"),
    "prompt: a\nimage: [x.png, y.png]\nlast_image: [x.png, y.png, z.png]": (3, "2 for image and 3"),
    "prompt: a\nimage: /etc/x.png": (2, "no plain name"),
    "prompt: a\nimage: ../x.png": (2, "no plain name"),
    "prompt: a\nimage: C:\\x.png": (2, "no plain name"),
    "prompt: a\nimage: https://example.org/x.png": (2, "no plain name"),
    "prompt: a\nimage: ''": (2, "no plain name"),
    "prompt: a\nimage: _x.png": (2, "reeldrop's own"),
    "prompt: a\nimage: .x.png": (2, "hidden"),
    "prompt: a\nimage: ~x.png": (2, "hidden"),
    "prompt: a\nimage: x.gif": (2, "does not end like a picture"),
    "prompt: a\nimage: x": (2, "does not end like a picture"),
    'prompt: a\nimage: "x\\n.png"': (2, "no picture can be called"),
    f"prompt: a\nimage: {'x' * 252}.png": (2, "no picture can be called"),
    "prompt: a\nimage: 3": (2, "must be a text, not 3"),
    "prompt: a\nimage:": (2, "must be a text, not nothing"),
    "prompt: a\nimage: []": (2, "an empty list"),
    "prompt: a\nimage: {x: y.png}": (2, "can't be a mapping"),
    "prompt: a\nimage:\n- x.png\n- y.gif": (4, "'y.gif'"),
    "prompt: a\ninit_image: x.png": (2, "unknown key 'init_image'"),
    "prompts: [a, {prompt: b, image: x.png}]": (1, "makes no video without a picture"),
}


@pytest.mark.parametrize("content", REFUSED)
def test_what_can_be_no_picture_is_refused_with_its_place(content: str) -> None:
    """The line is that of the key, or of the item of a list."""
    line, problem = REFUSED[content]
    found = refused(content)
    assert line == found.line
    assert problem in found.problem
    assert found.remedy


def test_a_model_that_takes_no_picture_says_so() -> None:
    """Whatever other tools call it; and a model with a first picture may take no last one."""
    for model, key in (("text", "image"), ("first", "last_image")):
        found = refused(f"prompt: a\n{key}: x.png\n", model=model)
        assert (2, key) == (found.line, found.key)
        assert f"{model} takes no {key}" == found.problem
        assert "`model:`" in found.remedy
    found = refused("prompt: a\nimage_fit: pad", model="text")
    assert "text takes no image_fit" == found.problem
    assert "takes no such picture" in refused("prompt: a\ninit_image: x.png", model="text").remedy
    assert "it is called image here" in refused("prompt: a\ninit_image: x.png").remedy


def test_a_picture_of_the_same_name_starts_every_prompt() -> None:
    """Of a text file, and of a YAML file that names none."""
    expected = ["a image=boat.png", "b image=boat.png"]
    assert expected == named("a\nb\n", "boat.txt", "first", "boat.png")
    assert expected == named("prompts: [a, b]\n", "boat.yaml", "may", "boat.png")
    assert ["a image=x.png"] == named("prompt: a\nimage: x.png\n", "boat.yaml", "first")
    assert ["a"] == named("a\n", "boat.txt", "may")


def test_a_picture_of_the_same_name_is_noted_where_the_model_takes_none() -> None:
    """The text may be the caption of that picture: it is rendered all the same."""
    (prompt,) = parse("a\n", "boat.txt", "text", "boat.png")
    assert () == prompt.pictures
    assert prompt.notes[0].startswith("boat.png, the picture of the same name, was not used: text")


def test_sidecars_start_from_no_picture_of_their_name() -> None:
    """That one is their poster."""
    assert ["a"] == named("prompt: a\nrendered: {job: x}\n", "boat.yaml", "may", "boat.jpg")
    assert "without a picture" in refused("prompt: a\nrendered: {}\n", pair="a.jpg").problem


def test_a_picture_may_still_come_where_one_of_the_same_name_would_be_taken() -> None:
    """Not where the file names pictures, is a sidecar, or has another mistake."""
    for content, name, may_come in (
        ("a\n", "boat.txt", True),
        ("prompt: a\n", "boat.yaml", True),
        ("prompts: [a, {prompt: b, image: x.png}]\n", "boat.yaml", False),
        ("prompt: a\nrendered: {}\n", "boat.yaml", False),
        ("prompts: [a, {prompt: b, seed: x}]\n", "boat.yaml", False),
    ):
        with pytest.raises(PromptError) as caught:
            parse(content, name, "first")
        assert may_come == isinstance(caught.value, NeedsPicture)


def test_refused_files_tell_which_pictures_they_name() -> None:
    """So that these go with them."""
    with pytest.raises(PromptError) as caught:
        parse("prompts: [a, {prompt: b, seed: x}]\nimage: [x.png, ../y.png]\n")
    assert ("x.png",) == caught.value.pictures
    with pytest.raises(PromptError) as caught:
        parse("prompts: [a, {prompt: b, seed: x}]\n", pair="boat.png")
    assert ("boat.png",) == caught.value.pictures
    with pytest.raises(NotDescribed) as unknown:
        parse("prompt: a\nimage: x.png\n", model="unloaded")
    assert ("x.png",) == unknown.value.pictures


def test_a_sidecar_has_the_hashes_of_its_pictures() -> None:
    """A damaged record of them counts as none."""
    for rendered, expected in (
        ("{pictures: {x.png: abc}}", "abc"),
        ("{pictures: {x.png: 3}}", ""),
        ("{pictures: [x.png]}", ""),
        ("[]", ""),
    ):
        (prompt,) = parse(f"prompt: a\nimage: x.png\nrendered: {rendered}\n")
        assert [expected] == [picture.sha256 for picture in prompt.pictures]


def test_pictures_have_no_defaults() -> None:
    """Neither in a folder nor in a profile."""
    with pytest.raises(PromptError, match="'image' can't have a default"):
        parse("prompt: a\n", defaults="image: x.png\n")
    for rules in RULES.values():
        if rules is not None:
            check_profile(rules)  # a profile needs no picture by itself


def test_settings_render_the_same_again() -> None:
    """What a sidecar says of a prompt with pictures is a prompt file."""
    (prompt,) = parse("prompt: a\nimage: x.png\nlast_image: y.png\n")
    settings = prompt.as_settings()
    assert ("x.png", "y.png") == (settings["image"], settings["last_image"])


def test_pictures_count_as_videos_before_they_are_read() -> None:
    """A thousand videos are the most, by seeds and pictures together."""
    names = ", ".join(f"{number}.png" for number in range(101))
    seeds = ", ".join(map(str, range(10)))
    assert "1,010 videos" in refused(f"prompt: a\nimage: [{names}]\nseed: [{seeds}]\n").problem
