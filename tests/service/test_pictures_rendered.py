"""A daemon with a tiny image-to-video pipeline: pairs, lists, sidecars, submit, and what fails."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import picture_models
from harness.site import Site, make_site
from harness.videos import decoded
from PIL import Image
from reeldrop.base import strict_yaml

CONFIG = """\
settle_seconds: 0.1
scan_seconds: 0.2
retry_seconds: 0.1
min_free_gib: 0
page: false
model: tiny
models:
  tiny:
    path: {pipeline}
    max_batch_size: 1
    defaults: {{num_inference_steps: 1, num_frames: 9, height: 64, width: 64}}
"""
EIGHT = range(8)


def picture(shade: int) -> bytes:
    """Return a PNG of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site whose daemon has rendered everything that was dropped."""
    folder = tmp_path_factory.mktemp("pictures")
    site = make_site(folder / "site", folder)
    pipeline = picture_models.save("LTX", folder / "tiny")
    (site.folder / "config.yaml").write_text(CONFIG.format(pipeline=pipeline))
    site.drop("boat.txt", "a red boat\na white boat\n")
    site.drop("boat.png", picture(128))
    names = ", ".join(f"{number}.png" for number in EIGHT)
    texts = ", ".join(f"p{number}" for number in EIGHT)
    site.drop("x/eight.yaml", f"prompts: [{texts}]\nimage: [{names}]\nseed: 7\n")
    for number in EIGHT:
        site.drop(f"x/{number}.png", picture(30 * number))
    site.drop("alone.txt", "a cow\n")
    site.drop("damaged.txt", "a bird\n")
    site.drop("damaged.png", picture(9)[:40])
    assert 1 == site.drain().returncode
    return site


def sidecar(path: Path) -> dict[str, object]:
    """Return the content of a sidecar."""
    found: dict[str, object] = strict_yaml.plain(strict_yaml.load_all(path.read_text())[0])
    return found


def test_a_text_starts_from_the_picture_of_its_name(done: Site) -> None:
    """Both videos, and the picture lies beside them."""
    folder = done.results / "boat"
    for stem in ("a_red_boat", "a_white_boat"):
        settings = sidecar(folder / f"{stem}.yaml")
        assert "boat.png" == settings["image"]
        rendered = settings["rendered"]
        assert isinstance(rendered, dict)
        assert {"boat.png": hashlib.sha256(picture(128)).hexdigest()} == rendered["pictures"]
        assert 9 == len(decoded(folder / f"{stem}.mp4"))
    assert picture(128) == (folder / "boat.png").read_bytes()


def test_eight_pictures_and_eight_prompts_give_eight_videos(done: Site) -> None:
    """Each prompt starts from its own: its video differs from the others, its first frame, too."""
    folder = done.results / "x" / "eight"
    assert 8 == len(list(folder.glob("*.mp4")))
    for number in EIGHT:
        assert f"{number}.png" == sidecar(folder / f"p{number}.yaml")["image"]
    firsts = {decoded(folder / f"p{number}.mp4")[0].tobytes() for number in EIGHT}
    assert 8 == len(firsts)
    assert [] == [path for path in done.inbox.rglob("*") if path.is_file()]


def test_what_failed_has_its_picture(done: Site) -> None:
    """One that is damaged, and a text to which no picture came."""
    assert "without a picture" in (done.failed / "alone.txt.error.txt").read_text()
    report = (done.failed / "damaged.txt.error.txt").read_text()
    assert "What is wrong:  the picture damaged.png is no png, jpeg or webp\n" in report
    assert "\nHow to fix it:  save it as one of these\n" in report
    assert "\nPut a corrected damaged.txt, with its pictures, into the inbox: " in report
    kept = done.failed / "damaged.txt.pictures" / "damaged.png"
    assert picture(9)[:40] == kept.read_bytes()


def test_a_sidecar_and_a_submitted_picture_give_the_same_video_again(done: Site) -> None:
    """The sidecar with the picture that lies beside it; the command copies one into the inbox."""
    again = done.inbox / "again"
    again.mkdir()
    before = done.results / "x" / "eight"
    for name in ("p3.yaml", "3.png"):
        shutil.copy(before / name, again)
    file = done.folder / "some picture.PNG"
    file.write_bytes(picture(90))
    told = done.command("submit", "p3", "--set", "seed=7", "--image", str(file))
    assert (0, "") == (told.returncode, told.stderr)
    assert 0 == done.drain().returncode
    expected = decoded(before / "p3.mp4")
    for folder in (done.results / "again" / "p3", done.results / "p3"):
        assert np.array_equal(expected, decoded(folder / "p3.mp4"))
    assert picture(90) == (done.results / "p3" / "p3.png").read_bytes()
    assert done.results / "p3" / "p3.mp4" == Path(told.stdout.split("will be ")[1].strip())
