"""Strangers' pictures: opened, fitted or refused in words, at a bounded cost."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from reeldrop.base.errors import Unrenderable
from reeldrop.base.job import CROP, IMAGE_FIT, PAD, Picture, Prompt
from reeldrop.render import pictures
from reeldrop.render.pictures import PictureRefused, fitted

# What Pillow warns of in damaged files is its own business.
pytestmark = pytest.mark.filterwarnings("default")

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
)  # fmt: skip
SIZE = (64, 32)


def halves(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture that is red on the left and blue on the right."""
    made = Image.new("RGB", size, RED)
    made.paste(BLUE, (size[0] // 2, 0, *size))
    return made.convert(mode)


def saved(picture: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """Return the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def of_size(size: tuple[int, int]) -> Callable[[tuple[int, int]], tuple[int, int]]:
    """Return a video's size that heeds no picture."""
    return lambda _of_picture: size


def shown(data: bytes, size: tuple[int, int] = SIZE, fit: str = CROP) -> np.ndarray:
    """Return the pixels of a fitted picture."""
    made = fitted(data, of_size(size), fit)
    assert ("RGB", size) == (made.mode, made.size)
    return np.asarray(made)


def is_near(pixel: np.ndarray, colour: tuple[int, int, int], by: int = 24) -> bool:
    """Return whether a pixel has about a colour; JPEG changes it a little."""
    return bool(np.abs(pixel.astype(int) - colour).max() <= by)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG of 8 bits of grey, with chunks behind its header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def stored(bits: int, kind: int, left: tuple[int, ...], right: tuple[int, ...]) -> bytes:
    """Return a PNG of two halves in which the left one's colour is said to be transparent.

    kind: 0 for grey, 2 for colours
    """
    line = [*left * (SIZE[0] // 2), *right * (SIZE[0] // 2)]
    text = "".join(f"{value:0{bits}b}" for value in line)
    packed = b"\0" + int(text, 2).to_bytes(len(text) // 8)
    header = struct.pack(">IIBBBBB", *SIZE, bits, kind, 0, 0, 0)
    clear = chunk(b"tRNS", struct.pack(f">{len(left)}H", *left))
    pixels = chunk(b"IDAT", zlib.compress(packed * SIZE[1]))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + clear + pixels + chunk(b"IEND", b"")


def before(name: bytes, data: bytes, inserted: bytes) -> bytes:
    """Return a PNG with chunks inserted before the first one of a name."""
    place = data.index(name) - 4
    return data[:place] + inserted + data[place:]


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def behind_start(data: bytes, inserted: bytes) -> bytes:
    """Return a JPEG with segments behind its first marker."""
    return data[:2] + inserted + data[2:]


def with_orientation(number: int) -> Image.Exif:
    """Return EXIF data that says how a picture is turned."""
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def icc_profile(space: str) -> bytes:
    """Return an ICC profile of a colour space, LAB or sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def animation(kind: str) -> bytes:
    """Return an animation that begins with the halves."""
    later = [Image.new("RGB", SIZE, GREEN)] * 2
    return saved(halves(), kind, save_all=True, append_images=later, duration=100, lossless=True)


def grey_of_16_bits() -> Image.Image:
    """Return a picture from black to white in 65,536 steps."""
    steps = np.linspace(0, 65535, SIZE[0]).astype(np.uint16)
    return Image.fromarray(np.tile(steps, (SIZE[1], 1)))


UPSIDE_DOWN = with_orientation(3)
SCANS = b"\xff\xda" * 200

HALVES: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(halves()),
    "jpeg": lambda: saved(halves(), "JPEG"),
    "progressive jpeg": lambda: saved(halves(), "JPEG", progressive=True),
    "webp": lambda: saved(halves(), "WEBP", lossless=True),
    "several jpegs in one, as phones make them": lambda: saved(halves(), "MPO"),
    "CMYK": lambda: saved(halves("CMYK"), "JPEG"),
    "palette": lambda: saved(halves("P")),
    "alpha": lambda: saved(halves("RGBA")),
    "animated png": lambda: animation("PNG"),
    "animated webp": lambda: animation("WEBP"),
    "png with a zip behind it": lambda: saved(halves()) + b"PK\x03\x04" + b"x" * 100,
    "jpeg with a page behind it": lambda: (
        saved(halves(), "JPEG") + b"<html><script>alert(1)</script>"
    ),
    "broken EXIF data": lambda: saved(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "broken ICC profile": lambda: saved(halves(), icc_profile=b"no profile"),
    "profile of another mode": lambda: saved(halves(), icc_profile=icc_profile("LAB")),
    "jpeg with a video behind it, as phones make them": lambda: saved(halves(), "JPEG") + SCANS,
    "jpeg with a turned one behind it": lambda: (
        saved(halves(), "JPEG") + saved(halves(), "JPEG", exif=UPSIDE_DOWN)
    ),
    "jpeg with passes in its profile": lambda: saved(halves(), "JPEG", icc_profile=SCANS),
    "jpeg with a comment like EXIF data": lambda: behind_start(
        saved(halves(), "JPEG"), segment(0xFE, b"a comment" + UPSIDE_DOWN.tobytes())
    ),
    "png with a text like EXIF data": lambda: before(
        b"IDAT", saved(halves()), chunk(b"tEXt", b"k\0" + UPSIDE_DOWN.tobytes())
    ),
    "text bomb": lambda: before(
        b"IDAT", saved(halves()), chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 99_000_000))
    ),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_picture_is_decoded_whatever_its_form(name: str) -> None:
    """Its content decides; of an animation, the first picture is shown."""
    made = shown(HALVES[name]())
    assert is_near(made[16, 8], RED)
    assert is_near(made[16, 56], BLUE)


def test_pixels_stay_where_the_size_fits() -> None:
    """What has the size of the video is not changed; with other modes, nothing but the mode is."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    assert np.array_equal(noise, shown(saved(Image.fromarray(noise))))
    grey = Image.fromarray(noise[..., 0])
    assert np.array_equal(np.asarray(grey.convert("RGB")), shown(saved(grey)))


def test_grey_of_16_bits_keeps_its_steps() -> None:
    """The upper 8 bits are shown; cut at 255, nearly all would be white."""
    made = shown(saved(grey_of_16_bits()))
    expected = (np.linspace(0, 65535, SIZE[0]).astype(np.uint16) >> 8).astype(np.uint8)
    assert np.array_equal(expected, made[0, :, 0])


def test_what_is_transparent_lies_on_white() -> None:
    """However transparency is said: by an alpha channel, by a colour, in a palette, in grey."""
    clear = halves("RGBA")
    clear.paste((255, 0, 0, 0), (0, 0, 32, 32))
    pale = Image.new("LA", SIZE, (0, 0))
    greys = [stored(bits, 0, (2**bits - 2,), (0,)) for bits in (2, 4, 8, 16)]
    for data in (
        saved(clear),
        saved(clear, "WEBP", lossless=True),
        saved(halves(), transparency=RED),
        saved(halves("P"), transparency=halves("P").getpixel((0, 0))),
        saved(pale),
        *greys,
        stored(16, 2, (0x1234, 0, 0), (0, 0, 65535)),
    ):
        assert is_near(shown(data)[16, 8], WHITE, by=0)


@pytest.mark.parametrize("number", range(9))
def test_orientation_is_heeded(number: int) -> None:
    """As cameras write it: the picture that people saw is shown upright; nonsense is upright."""
    upright = halves()
    lying = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(number)  # fmt: skip
    lying_down = upright if lying is None else upright.transpose(lying)
    exif = with_orientation(number)
    late = before(b"IEND", saved(lying_down), chunk(b"eXIf", exif.tobytes()[6:]))
    for data in (late, *(saved(lying_down, kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP"))):
        made = shown(data)
        assert is_near(made[16, 8], RED)
        assert is_near(made[16, 56], BLUE)


def test_an_icc_profile_says_which_colours_are_meant() -> None:
    """They become those of sRGB: here, red and blue are exchanged."""
    own = icc_profile("sRGB")
    exchanged = own.replace(b"rXYZ", b"none").replace(b"bXYZ", b"rXYZ").replace(b"none", b"bXYZ")
    made = shown(saved(halves(), icc_profile=exchanged))
    assert is_near(made[16, 8], BLUE)
    assert is_near(made[16, 56], RED)
    assert np.array_equal(shown(saved(halves())), shown(saved(halves(), icc_profile=own)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_icc_profile_may_be_large(kind: str) -> None:
    """Those of scanners and printers have megabytes."""
    large = icc_profile("sRGB") + np.random.default_rng(0).bytes(2 << 20)
    large = struct.pack(">I", len(large)) + large[4:]
    assert is_near(shown(saved(halves(), kind, icc_profile=large))[16, 8], RED)


def test_crop_cuts_both_ends_and_pad_adds_bars() -> None:
    """Neither stretches: a circle stays a circle."""
    wide = Image.new("RGB", (96, 32), GREEN)
    wide.paste(RED, (0, 0, 16, 32))
    wide.paste(BLUE, (80, 0, 96, 32))
    cropped, padded = shown(saved(wide)), shown(saved(wide), fit=PAD)
    assert (cropped == GREEN).all()
    assert (padded[:5] == BLACK).all()
    assert (padded[-5:] == BLACK).all()
    assert is_near(padded[16, 4], RED)
    assert is_near(padded[16, 60], BLUE)
    tall = shown(saved(wide.rotate(90, expand=True)), fit=PAD)
    assert (tall[:, :26] == BLACK).all()
    assert (tall[:, -26:] == BLACK).all()


def test_a_line_of_pixels_is_a_picture() -> None:
    """However long it is, it is fitted like any other."""
    for size in ((400_000, 1), (1, 400_000)):
        for fit in (CROP, PAD):
            shown(saved(Image.new("RGB", size, RED)), fit=fit)


def test_a_video_without_a_size_follows_the_picture() -> None:
    """The size is asked for with the picture's, seen upright."""
    asked = []
    data = saved(halves().rotate(90, expand=True), "JPEG", exif=with_orientation(6))
    fitted(data, lambda size: asked.append(size) or SIZE, CROP)
    assert [SIZE] == asked


def exif_bomb() -> bytes:
    """Return EXIF data of 64 KB whose entries point to 350 MB in all."""
    entries = [struct.pack("<HHLL", 1000 + n, 7, 60_000, 8) for n in range(5_400)]
    return b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + b"".join(entries)


def many_scans() -> bytes:
    """Return a progressive JPEG whose last pass comes two hundred times."""
    data = saved(halves(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 200 + data[-2:]


def large_with_many_passes() -> bytes:
    """Return a JPEG that says that it has 24 million pixels, with as many passes as to refuse."""
    data = saved(halves(), "JPEG", progressive=True)
    size = data.index(b"\xff\xc2") + 5
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:size] + struct.pack(">HH", 4000, 6000) + data[size + 4 : -2] + last * 9 + data[-2:]


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no png, jpeg or webp"),
    "text": (b"a horse runs", "no png, jpeg or webp"),
    "gif": (saved(halves(), "GIF"), "no png, jpeg or webp"),
    "tiff": (saved(halves(), "TIFF"), "no png, jpeg or webp"),
    "bmp": (saved(halves(), "BMP"), "no png, jpeg or webp"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no png, jpeg or webp"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no png, jpeg or webp"),
    "bomb": (png(60_000, 60_000, chunk(b"IDAT", zlib.compress(b"\0" * 9))), "60000x60000 pixels"),
    "wide": (png(2**31 - 1, 1, chunk(b"IDAT", b"")), "2147483647x1 pixels"),
    "no pixels": (png(0, 0, chunk(b"IDAT", b"")), "no png, jpeg or webp"),
    "half a png": (saved(halves())[:-40], "damaged"),
    "half a jpeg": (saved(halves(), "JPEG")[:-200], "damaged"),
    "half a webp": (saved(halves(), "WEBP")[:-20], "damaged"),
    "header alone": (saved(halves())[:20], "damaged"),
    "wrong sum": (saved(halves())[:-30] + b"x" * 18 + saved(halves())[-12:], "damaged"),
    "tiny pieces": (png(1, 1, *[chunk(b"teXt", b"")] * 300_000), "too many pieces"),
    "fill": (b"\xff\xd8" + b"\xff" * 1_000_000, "no png, jpeg or webp"),
    "many passes": (many_scans(), "passes over its pixels, more than 100"),
    "many passes of a large one": (large_with_many_passes(), "19 passes over its pixels"),
    "a line too long": (png(500_001, 1, chunk(b"IDAT", b"")), "more than 500,000 in a line"),
    "fill between passes": (
        saved(halves(), "JPEG")[:-2] + b"\xff" * 100_000,
        "long run of fill bytes",
    ),
    "a flood behind the pixels": (
        saved(halves(), "JPEG")[:-2] + segment(0xFE, b"") * 300_000,
        "too many pieces",
    ),
    "jpeg without pixels": (
        saved(halves(), "JPEG").replace(struct.pack(">HH", *SIZE[::-1]), bytes(4), 1),
        "no png, jpeg or webp",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_cannot_be_used_is_refused_in_words(name: str) -> None:
    """The reason and what helps, before anything is decoded that would take minutes."""
    data, words = REFUSED[name]
    with pytest.raises(PictureRefused) as caught:
        shown(data)
    assert words in str(caught.value)
    assert str(caught.value).endswith(")")


def prompt_with(path: Path) -> Prompt:
    """Return a prompt that begins with a picture."""
    one = Picture("image", path.name, path, "")
    return Prompt(1, "a", "m", ((IMAGE_FIT, PAD),), 0, 8, ("mp4",), pictures=(one,))


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A link, a folder, nothing, too much: said with the picture's name, and never tried again."""
    (tmp_path / "real.png").write_bytes(saved(halves()))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "folder.png").mkdir()
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(pictures.MOST_BYTES + 1)
    cases = {
        "link.png": "not a plain file", "folder.png": "not a plain file",
        "none.png": "No such file", "large.png": "more than 24 MiB",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(Unrenderable) as caught:
            pictures.given([prompt_with(tmp_path / name)], lambda _prompt, size: size)
        assert f"the picture {name} " in str(caught.value)
        assert words in str(caught.value)
    found = pictures.given([prompt_with(tmp_path / "real.png")], lambda _prompt, _size: SIZE)
    assert SIZE == found["image"].size


def resources() -> bytes:
    """Return segments of a JPEG with two million resources of Photoshop."""
    one = b"Photoshop 3.0\0" + (b"8BIM\x04\x04" + bytes(6)) * 5_400
    return segment(0xED, one) * 350


def index_bomb() -> bytes:
    """Return an index of several pictures in a JPEG whose entries have 300 MB in all."""
    entries = [struct.pack("<HHLL", 1000 + n, 7, 60_000, 8) for n in range(5_000)]
    return b"MPF\0II*\0" + struct.pack("<LH", 8, len(entries)) + b"".join(entries) + bytes(4_000)


LARGEST: dict[str, Callable[[], bytes]] = {
    "RGBA png": lambda: saved(Image.new("RGBA", (5712, 4284), (9, 9, 9, 9)), compress_level=1),
    "grey and alpha": lambda: saved(Image.new("LA", (5712, 4284), (9, 9)), compress_level=1),
    "long lines": lambda: saved(Image.new("RGBA", (500_000, 49), (9, 9, 9, 9)), compress_level=1),
    "short lines": lambda: saved(Image.new("RGBA", (49, 500_000), (9, 9, 9, 9)), compress_level=1),
    "EXIF bomb": lambda: saved(Image.new("RGB", (64, 64)), "JPEG", exif=exif_bomb()),
    "profile bombs": lambda: before(
        b"IDAT", saved(halves()), chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(999_999))) * 20_000
    ),
    "profile bombs behind the pixels": lambda: before(
        b"IEND", saved(halves()), chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(999_999))) * 20_000
    ),
    "resources": lambda: behind_start(saved(halves(), "JPEG"), resources()),
    "index bomb": lambda: behind_start(saved(halves(), "JPEG"), segment(0xE2, index_bomb())),
    "CMYK jpeg": lambda: saved(
        Image.new("CMYK", (5712, 4284)), "JPEG", progressive=True, subsampling=0
    ),
    "webp": lambda: saved(Image.new("RGBA", (4000, 3000), (9, 9, 9, 9)), "WEBP", method=0),
}

MEASURED = """
import json, sys, time
from pathlib import Path
from reeldrop.render import pictures
began = time.process_time()
pictures.fitted(Path(sys.argv[1]).read_bytes(), lambda size: (1280, 720), "pad")
seconds = time.process_time() - began
assert "torch" not in sys.modules
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps([int(peak) >> 10, seconds]))
"""


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_pictures_take_little(name: str, tmp_path: Path) -> None:
    """Less than 256 MiB for the whole process, and two seconds of one core."""
    file = tmp_path / "largest"
    file.write_bytes(LARGEST[name]())
    command = [sys.executable, "-c", MEASURED, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = json.loads(done.stdout)
    assert (True, True) == (peak < 256, seconds < 2), (peak, seconds)
