"""Open the pictures that videos begin or end with, and fit them to the size of the video.

The files are untrusted: their content decides, not their names; nothing is decoded before its size
is known; and the cost of a file is bounded, to 256 MB and two seconds. Imports no torch.
"""

from __future__ import annotations

import contextlib
import errno
import io
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import (
    Image,
    ImageCms,
    ImageOps,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from reeldrop.base import plain_files
from reeldrop.base.errors import DISK_ERRORS, Unrenderable
from reeldrop.base.job import CROP, IMAGE_FIT, PAD
from reeldrop.base.picture_files import MOST_BYTES
from reeldrop.render import picture_parts
from reeldrop.render.kinds import Size

if TYPE_CHECKING:
    from reeldrop.base.job import Picture, Prompt

FORMATS = ("PNG", "JPEG", WebPImagePlugin.WebPImageFile.format)
MOST_PIXELS = 24_500_000
MOST_PIXELS_WEBP = 12_000_000
"""Lower, because Pillow holds a webp picture in memory four times."""

MOST_SIDE = 500_000
"""Lines and columns cost, too: one of 24 million pixels would take 1.4 GB and ten seconds."""

_MOST_READS = 200_000
"""Upper bound on read calls. Usual files need about ten thousand; a file of tiny pieces would take
minutes."""

_MOST_PASSES = 100
_MOST_PASSED = 18 * MOST_PIXELS
"""Upper bounds on the passes of a progressive JPEG, and on the pixels of all passes together.
Encoders make 10, or 18 of four colours."""

_EXIF = b"Exif\0\0"
_BEHIND_ALPHA = (255, 255, 255)
_BARS = (0, 0, 0)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to make a picture upright, by the orientation in its EXIF data."""

_SHADES = {"L;2": 4, "L;4": 16, "L": 256}
_DEEP_COLOURS = "RGB;16B"
"""How pixels of a PNG are stored: shades of grey, by their number, and colours of 16 bits."""

_ON_ITS_SIDE = (5, 6, 7, 8)

_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error)
"""What Pillow raises for damaged files."""

Image.MAX_IMAGE_PIXELS = None  # our own limits are lower, and checked before decoding
PngImagePlugin.MAX_TEXT_CHUNK = 4 << 20  # of an ICC profile; those of scanners have megabytes


class PictureRefused(Exception):
    """A picture can't be used; has the problem and a remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} ({remedy})")
        self.problem, self.remedy = problem, remedy


def given(
    prompts: Sequence[Prompt], size_for: Callable[[Prompt, Size], Size]
) -> dict[str, Image.Image | list[Image.Image]]:
    """Return the pictures of a batch by argument of the call: one, or a list with one per prompt.

    `size_for` returns the size of a prompt's video, given that of its picture.

    Raises:
        Unrenderable: a picture can't be used; names the file, the reason and the remedy.
    """
    found: dict[str, list[Image.Image]] = {}
    for prompt in prompts:
        for picture in prompt.pictures:
            found.setdefault(picture.key, []).append(_of_prompt(picture, prompt, size_for))
    return {key: many if len(many) > 1 else many[0] for key, many in found.items()}


def _of_prompt(
    picture: Picture, prompt: Prompt, size_for: Callable[[Prompt, Size], Size]
) -> Image.Image:
    fit = str(prompt.argument(IMAGE_FIT) or CROP)
    try:
        return fitted(_read(picture), lambda size: size_for(prompt, size), fit)
    except PictureRefused as error:
        problem = f"the picture {picture.name} {error.problem}"
        raise Unrenderable(problem, error.remedy) from None


def _read(picture: Picture) -> bytes:
    try:
        return plain_files.content(picture.path, MOST_BYTES)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        if error.errno == errno.EFBIG:
            problem = f"has more than {MOST_BYTES >> 20} MiB"
            raise PictureRefused(problem, "save it smaller, or as a jpeg") from None
        raise PictureRefused(f"can't be read: {error.strerror}", "put it there again") from None


def fitted(data: bytes, size_for: Callable[[Size], Size], fit: str) -> Image.Image:
    """Return a picture from a file's bytes: upright, in sRGB, and of the size of its video.

    It is never stretched: CROP cuts both ends equally, PAD adds equal black bars. An animation
    gives its first picture; transparent pixels are put on white; 16 bits become the upper 8. A
    picture that already has the video's size keeps its pixels.

    Raises:
        PictureRefused: it is no picture, is damaged, or would take too much memory or time.
    """
    try:
        data, exif, passes = picture_parts.of(data)
        file = _Pieces(data)
        del data  # of what may be large, nothing is kept longer than it is needed
        with Image.open(file, formats=FORMATS) as opened:
            _check(opened, passes)
            turned = _orientation(exif or opened.info.get("exif", b""))
            is_on_its_side = turned in _ON_ITS_SIDE
            size = _swapped(size_for(_swapped(opened.size, is_on_its_side)), is_on_its_side)
            opened.draft(None, size)  # a JPEG at least twice as large is decoded at a lower size
            profile, clear = opened.info.get("icc_profile"), _clear(opened)
            opened.load()
            file.close()
            made = _in_srgb(_resized(_mixable(opened, clear), size, fit), profile)
    except UnidentifiedImageError:
        raise PictureRefused("is no png, jpeg or webp", "save it as one of these") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        raise PictureRefused(f"is damaged: {reason}", "send it again") from None
    made = _with_bars(made, size)
    return made.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else made


class _Pieces(io.BytesIO):
    """The bytes of a picture, with an upper bound on read calls."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError("it is in too many pieces")
        return super().read(size)


def _check(opened: Image.Image, passes: int) -> None:
    """Raise PictureRefused if a picture would take too much memory or time to decode."""
    most = MOST_PIXELS_WEBP if opened.format == "WEBP" else MOST_PIXELS
    width, height = opened.size
    if width * height > most:
        problem = f"has {width}x{height} pixels, more than {most / 1e6:g} million"
        raise PictureRefused(problem, "make it smaller; a video has far fewer")
    if max(width, height) > MOST_SIDE:
        problem = f"has {width}x{height} pixels, more than {MOST_SIDE:,} in a line"
        raise PictureRefused(problem, "make it smaller; a video has far fewer")
    most = min(_MOST_PASSES, _MOST_PASSED // max(1, width * height))
    if passes > most:
        problem = f"has {passes} passes over its pixels, more than {most}"
        raise PictureRefused(problem, "save it as a plain jpeg")


def _orientation(exif: bytes) -> int:
    """Return the orientation from EXIF data; 1, which is upright, if there is none."""
    exif = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    with contextlib.suppress(struct.error):
        if order is not None:
            [start] = struct.unpack_from(f"{order}L", exif, 4)
            [count] = struct.unpack_from(f"{order}H", exif, start)
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, value = struct.unpack_from(f"{order}H6xH", exif, entry)
                if tag == _ORIENTATION:
                    return int(value)
    return 1


def _swapped(size: Size, is_on_its_side: bool) -> Size:
    return (size[1], size[0]) if is_on_its_side else size


def _mixable(opened: Image.Image, clear: Any) -> Image.Image:
    """Return a decoded picture in a mode whose pixels can be mixed: L, RGB, RGBA or CMYK.

    clear: what is transparent in it, by `_clear`
    """
    if opened.mode.startswith("I"):  # 16 bits of grey
        pixels = np.asarray(opened)
        shades = (pixels >> 8).astype(np.uint8)
        if clear is not None:
            shades[pixels == clear] = _BEHIND_ALPHA[0]
        made = Image.fromarray(shades)
    elif "transparency" in opened.info or opened.mode in ("LA", "PA"):
        made = opened.convert("RGBA")
    elif opened.mode in ("L", "RGB", "RGBA", "CMYK"):
        return opened
    else:
        made = opened.convert("RGB")
    opened.close()  # frees its memory
    return made


def _clear(opened: Any) -> Any:
    """Return what is transparent in a PNG of grey or colours, and have Pillow take it for that.

    Pillow gives pixels 8 bits, but leaves this as it is in the file.
    """
    clear = opened.info.get("transparency")
    if clear is None:
        return None
    form = opened.tile[0].args
    if form in _SHADES:
        clear = opened.info["transparency"] = clear % _SHADES[form] * 255 // (_SHADES[form] - 1)
    elif form == _DEEP_COLOURS:
        opened.info["transparency"] = tuple(part >> 8 for part in clear)
    return clear


def _resized(picture: Image.Image, size: Size, fit: str) -> Image.Image:
    """Return a picture cropped to a size; with PAD, the largest one that fits into it."""
    if fit != PAD:
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    scale = min(most / side for most, side in zip(size, picture.size, strict=True))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _with_bars(picture: Image.Image, size: Size) -> Image.Image:
    if picture.size == size:
        return picture
    whole = Image.new("RGB", size, _BARS)
    left, top = ((most - side) // 2 for most, side in zip(size, picture.size, strict=True))
    whole.paste(picture, (left, top))
    return whole


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in RGB, on white, converted from its ICC profile to sRGB."""
    if picture.mode == "RGBA":
        white = Image.new("RGB", picture.size, _BEHIND_ALPHA)
        white.paste(picture, mask=picture)
        picture = white
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # damaged, or for another mode
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            made = ImageCms.profileToProfile(
                picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if made is not None:
                return made
    return picture if picture.mode == "RGB" else picture.convert("RGB")
