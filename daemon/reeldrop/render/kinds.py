"""In what the classes of diffusers' video pipelines can differ. Imports no library.

What a pipeline tells (the arguments of its call, the ratios of its VAE) is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reeldrop.base.job import Grid, Scalar


def _nothing(_pipe: Any) -> dict[str, Any]:
    return {}


def _never(_pipe: Any) -> bool:
    return False


def _zero(_pipe: Any) -> int:
    return 0


def _none(_pipe: Any) -> None:
    return None


def _same(_pipe: Any, size: Size) -> Size:
    return size


Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True, slots=True)
class WindowedCall:
    """How the denoiser of a class can be called for windows of a video.

    argument: the name of the latents, (videos, channels, frames, height, width)
    frames: the usual length of its videos, in frames
    guided_apart: it is called for prompts and negative prompts separately, not for both together
    """

    argument: str
    frames: int
    guided_apart: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of pipelines: how it differs from others.

    refused: why it is refused at load; empty if it is not
    untested: why no test renders with it; empty if one does
    grids: the possible values of a setting, where its attributes don't tell
    size_multiple: height and width are multiples of this and of what its attributes tell
    defaults: of settings whose default in the call is None, or would be changed by the pipeline
    hidden: arguments that prompts can't set, because `grids` would no longer hold, because they
        only matter with a picture, or because its call takes them but does not use them
    renders_alone: in a batch a prompt would give another video, or batches are not possible
    draws: whether it draws from torch's global generator: then it is not batched, and not compiled,
        because a compiler in another thread resets that generator
    keeps_texts: its embeddings can be computed in advance, each text alone
    tiles: its VAE always decodes in tiles
    reads: how many tokens of a text it reads, where no argument tells
    around: how many of these are not the text's: marks and templates
    pictures: call arguments that are pictures, and whether each is required
    last_image: whether a picture of the last frame is required; None if it takes none
    pairs: a list of pictures has one for each prompt; else prompts with pictures are rendered alone
    size_of: the size of the video by that of the picture, where its call takes no size
    drops: how many frames it makes but does not return
    keyframes: its call takes a list of pictures and a list of their frame numbers
    windows: how it can render videos longer than the model in windows; None if unknown
    clip: only CLIP reads its texts, and its call takes embeddings of any number of tokens
    """

    refused: str = ""
    untested: str = ""
    grids: Callable[[Any], Mapping[str, Grid]] = _nothing
    size_multiple: int = 1
    defaults: Callable[[Any], Mapping[str, Scalar]] = _nothing
    hidden: frozenset[str] = frozenset()
    renders_alone: bool = False
    draws: Callable[[Any], bool] = _never
    keeps_texts: bool = False
    tiles: bool = False
    reads: int | None = None
    around: Callable[[Any], int] | None = None
    pictures: Mapping[str, bool] = field(default_factory=dict)
    last_image: Callable[[Any], bool | None] = _none
    pairs: bool = False
    size_of: Callable[[Any, Size], Size] = _same
    drops: Callable[[Any], int] = _zero
    keyframes: bool = False
    windows: WindowedCall | None = None
    clip: bool = False


UNLISTED = Kind(renders_alone=True)
