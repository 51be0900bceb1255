"""The table of pipeline classes, and the classes that are refused."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import diffusers
import pytest
from harness.models import TINY, save
from harness.picture_models import TINY_WITH_PICTURES
from reeldrop.base.errors import ConfigError
from reeldrop.render import capabilities, classes, pipeline
from reeldrop.render.source import ModelSource

# What diffusers' modules warn of when they are imported is their own business.
pytestmark = pytest.mark.filterwarnings("default")

ELSEWHERE = {"TextToVideoSDPipeline"}
"""Classes that all other tests of the renderer render with."""


def video_classes() -> Iterator[type]:
    """Yield each class of diffusers that makes a number of frames."""
    for name in dir(diffusers):
        if name.endswith("Pipeline"):
            found = getattr(diffusers, name)
            if capabilities.frames_argument(inspect.signature(found.__call__).parameters):
                yield found


def refusal(pipeline_class: type) -> str:
    """Return why a class is refused; empty if it is not."""
    try:
        capabilities.check_class(pipeline_class, "mine")
    except ConfigError as error:
        return str(error)
    return ""


def test_each_video_class_of_diffusers_is_tested_or_refused_in_words() -> None:
    """Those that need more than texts and pictures say so in their call, or are in the table."""
    refusals = {found.__name__: refusal(found) for found in video_classes()}
    accepted = {name for name, why in refusals.items() if not why}
    untested = {name for name in classes.KINDS if classes.outcome(name).startswith("not tested")}
    assert accepted == set(classes.TESTED) | untested
    for name in (
        "I2VGenXLPipeline", "LTX2InContextPipeline", "MotifVideoImage2VideoPipeline",
        "SanaImageToVideoPipeline", "SkyReelsV2ImageToVideoPipeline",
    ):  # fmt: skip
        assert "key 'models.mine.pipeline'" in refusals[name]
        assert f"{name} can't be used" in refusals[name]
        assert "picture" in refusals[name] or "image" in refusals[name]


def test_the_table_says_what_the_tests_do() -> None:
    """A class is called tested only if a tiny model of it exists."""
    tiny = (*TINY.values(), *TINY_WITH_PICTURES.values())
    assert set(classes.TESTED) == {one.kind.__name__ for one in tiny} | ELSEWHERE
    assert "tested" == classes.outcome("WanPipeline")
    assert classes.outcome("I2VGenXLPipeline").startswith("refused: it needs a picture")


def test_without_a_negative_prompt_kandinsky_takes_its_own() -> None:
    """Its call replaces none by a text, but not an empty one."""
    kind = classes.KINDS["Kandinsky5T2VPipeline"]
    own = kind.defaults(None)["negative_prompt"]
    assert f'negative_prompt = "{own}"' in inspect.getsource(
        diffusers.Kandinsky5T2VPipeline.__call__
    )


def index_only(folder: Path, name: str, **parts: list[str]) -> Path:
    """Make the folder of a model without weights."""
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name, **parts}))
    return folder


def of_class(name: str) -> Callable[[Path, Path], Path]:
    """Return how to make the folder of another class's model out of Wan's."""

    def make(wan: Path, folder: Path) -> Path:
        shutil.copytree(wan, folder)
        index = json.loads((folder / "model_index.json").read_text())
        kept = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
        index = {"_class_name": name, **{part: index[part] for part in kept}}
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    return make


def with_processor(_wan: Path, folder: Path) -> Path:
    """Make a model of Kandinsky 5 whose tokenizer is a processor of pictures, as published."""
    save("Kandinsky 5", folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    names = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}
    (folder / "tokenizer" / "preprocessor_config.json").write_text(json.dumps(names))
    return folder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(
            with_processor,
            ["torchvision", "not installed"],
            marks=pytest.mark.skipif(bool(find_spec("torchvision")), reason="it is installed"),
        ),
        (of_class("CosmosTextToWorldPipeline"), ["cosmos_guardrail", "not installed"]),
        (lambda _wan, folder: index_only(folder, "SanaImageToVideoPipeline"), ["image"]),
        (lambda _wan, folder: index_only(folder, "StableDiffusionPipeline"), ["number of frames"]),
    ],
)
def test_what_cannot_be_used_is_refused_before_its_weights_are_read(
    make: Callable[[Path, Path], Path], words: list[str], wan_pipeline: Path, tmp_path: Path
) -> None:
    """The operator learns the profile and the reason, and waits for no download."""
    with pytest.raises(ConfigError) as caught:
        pipeline.load(ModelSource("mine", str(make(wan_pipeline, tmp_path / "model"))))
    assert [] == [word for word in ["mine", *words] if word not in str(caught.value)]
