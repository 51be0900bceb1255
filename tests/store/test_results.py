"""results: names that every file system accepts, and videos that are published complete, once."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from harness.kills import noted
from hypothesis import example, given
from hypothesis import strategies as st
from reeldrop.base import durable, strict_yaml, temporaries
from reeldrop.base.job import Job, Prompt, Rendered, Video
from reeldrop.base.names import (
    MAX_PATH_UNITS,
    NOTE_SUFFIX,
    folder_name,
    portable,
    safe_name,
    video_name,
)
from reeldrop.base.translated import KEYS
from reeldrop.store import sidecars, stems
from reeldrop.store.results import Results, is_published
from reeldrop.store.stems import Stems

RENDERED = Rendered(
    model="somebody/model",
    revision="abc",
    pipeline="TextToVideoSDPipeline",
    scheduler="DDIMScheduler",
    device="cpu",
    dtype="float32",
    versions=(("diffusers", "0.42"), ("torch", "2.13")),
    seconds=1.23456,
    peak_memory_mib=321,
    batch_size=2,
    speed=("exact",),
)


def a_job(id: str = "20261124-1", source: str = "poems/li_bai.yaml") -> Job:
    """Return a job in hand."""
    return Job(id, PurePosixPath(source), Path("/nowhere"), (), 1)


def a_prompt(text: str = "大 bird", number: int = 1, formats: tuple[str, ...] = ("mp4",)) -> Prompt:
    """Return a resolved prompt."""
    return Prompt(number, text, "tiny", (("height", 64),), 7, 8.0, formats)


def encode(path: Path, format: str, settings: str) -> None:
    """Write a text that tells which file this is."""
    path.write_text(f"{format} {len(settings) > 0}")


def publish(
    results: Results,
    job: Job,
    prompt: Prompt,
    earlier: Video | None = None,
    encode: Callable[[Path, str, str], None] = encode,
) -> Video:
    """Publish one video."""
    return results.publish(job, prompt, RENDERED, encode, earlier)


def listed(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(os.listdir(folder))


# Names

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.I)


def assert_safe(name: str, max_bytes: int) -> None:
    """Assert that file systems and sync tools accept a name."""
    assert name
    assert len(name.encode()) <= max_bytes
    assert unicodedata.normalize("NFC", name) == name
    assert not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert not name.startswith((".", " ", "~"))
    assert not name.endswith((".", " ", "~", ".tmp", ".part"))
    assert not RESERVED.fullmatch(name)


NASTY = st.lists(
    st.sampled_from(
        [
            "con",
            "CON",
            "nul",
            "aux",
            "com1",
            "LPT²",
            "clock$",
            "CONIN$",
            ".",
            "..",
            " ",
            "~",
            "/",
            "\\",
            ":",
            "*",
            "?",
            "<",
            "|",
            '"',
            "\x00",
            "\n",
            "\t",
            "\x7f",
            "\x85",
            "\u200d",
            "️",
            "é",
            "́",
            "é",
            "大",
            "鸟",
            "👩\u200d🚀",
            "👍🏽",
            "🇨🇳",
            "\u202e",
            "\u200e",
            "한",
            ".tmp",
            ".part",
            ".txt",
            ".yaml",
            "_",
            "-2",
            "a",
            "x" * 60,
            "大" * 40,
            "�",
            "\u3000",
        ]
    ),
    max_size=12,
).map("".join)


@given(st.text() | NASTY | st.text(min_size=150))
@example("con.txt")
@example("con .txt")
@example("e\x01\u0301")
@example("con." + "x" * 196)
@example("a.tmp~")
@example("x" * 199 + "大")
def test_any_text_gives_a_safe_name(text: str) -> None:
    """Linux, macOS, Windows, SMB and sync tools accept the name; a safe name stays unchanged."""
    name = safe_name(text)
    assert_safe(name, 200)
    assert name == safe_name(name)
    stem = video_name(text)
    assert_safe(stem, 200 - len("-9999.yaml"))
    assert not re.search(r"\s", stem)
    assert not stem.startswith("_")
    for suffix in (".mp4", ".webm", "-1000.yaml"):
        assert_safe(stem + suffix, 200)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Big bird rises", "Big_bird_rises"),
        ("a  b", "a__b"),
        ("two\nlines\tand tabs", "two_lines_and_tabs"),
        ("大鹏一日同风起", "大鹏一日同风起"),
        ("Zwölf Boxkämpfer, 100 %!", "Zwölf_Boxkämpfer,_100_%!"),
        ("e\u0301te\u0301", "été"),
        ("a/b\\c:d", "a_b_c_d"),
        ('what? "this" <that> | *', "what___this___that_____"),
        ("../../etc/passwd", "etc_passwd"),
        ('"Stop!" she said', "Stop!__she_said"),
        ("_defaults", "defaults"),
        ("???", "v"),
        ("...", "video"),
        ("", "video"),
        ("\u202egnp.exe", "gnp.exe"),
        ("con", "con_"),
        ("Con.txt", "Con_.txt"),
        ("nul.tar.gz", "nul_.tar.gz"),
        ("lpt¹", "lpt¹_"),
        ("conin$", "conin$_"),
        ("contact", "contact"),
        ("com10", "com10"),
        ("the end.", "the_end"),
        ("x.tmp", "x_tmp"),
        ("x.mp4.part", "x.mp4_part"),
        ("backup~", "backup_"),
        ("👩\u200d🚀 flies", "👩\u200d🚀_flies"),
        ("a\u200bb\ufeff\xad\u2060\u2028c", "ab_c"),
        ("\u200b\u2800", "video"),
        ("\u200d", "video"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_video_names(prompt: str, expected: str) -> None:
    """Spaces become underscores, as in the original script; other safe characters stay."""
    assert expected == video_name(prompt)


@pytest.mark.parametrize(
    "character",
    ["👩\u200d👩\u200d👧\u200d👦", "👍🏽", "❤\ufe0f", "q\u0323\u0307", "한", "नि", "x"],
)
def test_long_names_are_cut_between_characters(character: str) -> None:
    """No visible character is cut in two; a hash stands for the rest."""
    composed = unicodedata.normalize("NFC", character)
    for shift in range(len(composed.encode()) + 1):
        name = video_name("y" * shift + character * 200)
        kept, hashed = name[:-9], name[-9:]
        assert re.fullmatch("-[0-9a-f]{8}", hashed)
        whole, rest = divmod(len(kept) - shift, len(composed))
        assert (0, "y" * shift + composed * whole) == (rest, kept)
        more = name + composed
        assert len(more.encode()) > 190 or len(more.encode("utf-16-le")) // 2 > 90


def test_long_names_that_begin_alike_differ() -> None:
    """The hash is that of the whole text."""
    first, second = video_name("大" * 100 + "a"), video_name("大" * 100 + "b")
    assert first[:-9] == second[:-9]
    assert first != second


def test_videos_of_a_sweep_are_told_apart(tmp_path: Path) -> None:
    """What was chosen stays where the prompt is too long, whatever it is; long keys are cut."""
    results, source = Results(tmp_path), PurePosixPath("a.yaml")
    two = (("wildcards", "red"), ("guidance_scale", 6), ("num_inference_steps", 15))
    for swept, ending in (
        (two, "_guidance_scale=6,num_inference_steps=15"),
        ((*two, ("seed", 3)), "_gs=6,nis=15,seed=3"),
        ((("negative_prompt", "a/b: <c>\n|"),), "_negative_prompt=a_b__"),
    ):
        for prompt in ("a red fox", "大" * 100, "x" * 300):
            name = results.video_name(source, prompt, swept)
            assert ending in name
            assert name == video_name(name)
            assert len(f"{name}-9999.yaml".encode()) <= 255
    assert "a_red_fox" == results.video_name(source, "a red fox", two[:1])
    long = [results.video_name(source, "a", (("negative_prompt", "x" * n),)) for n in (300, 301)]
    assert 2 == len(set(long))


def test_folder_for_mirrors_the_inbox(tmp_path: Path) -> None:
    """Each prompt file has a folder at the same place, with safe names."""
    results = Results(tmp_path)
    assert tmp_path / "poems" / "li_bai" == results.folder_for(PurePosixPath("poems/li_bai.yaml"))
    assert tmp_path / "con_" / "a_b" == results.folder_for(PurePosixPath("con/a:b.txt"))
    assert tmp_path / "x" / "a.b" == results.folder_for(PurePosixPath("x/a.b.txt"))
    undecodable = results.folder_for(PurePosixPath("\udcff\udcfe.txt"))
    assert tmp_path / "video" == undecodable


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ball.txt", "ball.txt"),
        ("Poems/a.txt", "poems/a.txt"),
        ("\u00c9t\u00e9.txt", "\u00e9t\u00e9.txt"),
        (f"{'Long' * 40}.txt", f"{'long' * 40}.txt"),
    ],
)
def test_folders_that_differ_only_in_case_are_apart(
    first: str, second: str, tmp_path: Path
) -> None:
    """The later folder gets a mark, and keeps it."""
    results = Results(tmp_path)
    sources = [PurePosixPath(first), PurePosixPath(second)]
    videos = [publish(results, a_job(str(n), str(s)), a_prompt()) for n, s in enumerate(sources)]
    folders = [str(results.place_for(source)) for source in sources]
    assert folders == [str(v.sidecar.parent.relative_to(tmp_path)) for v in videos]
    assert 2 == len({folder.casefold() for folder in folders})
    assert len(folders[1]) <= max(len(folders[0]), 20 + len("/a"))
    assert folders == [str(Results(tmp_path).place_for(s)) for s in sources], "for a new process"
    shutil.rmtree(tmp_path / Path(folders[0]).parts[0])
    assert folders[1] == str(results.place_for(sources[1])), "also if the first one goes"
    assert Path(first).with_suffix("").parts[-1][:5] in results.folder_for(sources[0]).name


def test_a_dropped_video_with_a_long_name_fits_where_it_is_kept(tmp_path: Path) -> None:
    """There is room for `_order/`, a number and a note's suffix."""
    for length in range(60, 120):
        source = PurePosixPath("f" * 60, f"{'x' * length}.mp4")
        below = Results(tmp_path).order_place(source, source)
        assert len(f"{below}-9999{NOTE_SUFFIX}") <= MAX_PATH_UNITS


def test_a_folder_made_meanwhile_is_seen(tmp_path: Path) -> None:
    """The names in a folder are read again when it changes."""
    results = Results(tmp_path)
    assert tmp_path / "ball" == results.folder_for(PurePosixPath("ball.txt"))
    (tmp_path / "Ball").mkdir()
    os.utime(tmp_path, ns=(1, 1))
    assert tmp_path / "ball" != results.folder_for(PurePosixPath("ball.txt"))


def test_folder_and_video_of_a_long_prompt_have_room(tmp_path: Path) -> None:
    """Neither name exceeds a hundred characters."""
    results = Results(tmp_path)
    prompt = "a slow aerial shot over a quiet harbour at first light " * 5
    source = portable(PurePosixPath(f"{folder_name(video_name(prompt))}.yaml"))
    video = publish(results, a_job(source=str(source)), a_prompt(prompt))
    folder = video.sidecar.parent.relative_to(tmp_path)
    assert len(str(source)) < 100
    assert 80 < len(str(folder)) < 100
    assert 80 < len(video.sidecar.name) < 100


# Publishing


def test_publish(tmp_path: Path) -> None:
    """A video is its files, a poster and a sidecar, all with one stem, and nothing else."""
    video = publish(Results(tmp_path), a_job(), a_prompt(formats=("mp4", "gif", "webm")))
    folder = tmp_path / "poems" / "li_bai"
    assert (
        Video(
            "20261124-1",
            1,
            (folder / "大_bird.mp4", folder / "大_bird.gif", folder / "大_bird.webm"),
            folder / "大_bird.yaml",
            folder / "大_bird.jpg",
        )
        == video
    )
    assert sorted(f"大_bird.{s}" for s in ("gif", "jpg", "mp4", "webm", "yaml")) == listed(folder)
    assert "webm True" == video.files[2].read_text()
    assert "jpg True" == video.poster.read_text()
    assert is_published(video)


def test_the_sidecar_says_how_it_was_rendered(tmp_path: Path) -> None:
    """It has every setting of a prompt file, and `rendered` with the record of the render."""
    prompt = a_prompt(number=3)
    video = publish(Results(tmp_path), a_job(), prompt)
    (document,) = strict_yaml.load_all(video.sidecar.read_text(encoding="utf-8"))
    settings = strict_yaml.plain(document)
    rendered = settings.pop("rendered")
    assert prompt.as_settings() == settings
    assert {"prompt": "大 bird", "height": 64, "seed": 7, "fps": 8, "format": "mp4"} == {
        key: value for key, value in settings.items() if key != "model"
    }
    del rendered["finished"]
    assert {
        "job": "20261124-1",
        "prompt_file": "poems/li_bai.yaml",
        "number": 3,
        "model": "somebody/model",
        "revision": "abc",
        "pipeline": "TextToVideoSDPipeline",
        "scheduler": "DDIMScheduler",
        "device": "cpu",
        "dtype": "float32",
        "speed": ["exact"],
        "versions": {"diffusers": "0.42", "torch": "2.13"},
        "seconds": 1.235,
        "peak_memory_mib": 321,
        "batch_size": 2,
    } == rendered


def test_the_sidecar_says_what_was_left_out() -> None:
    """It has the text that the encoder did not read, and notes, if there are any."""
    prompt = dataclasses.replace(a_prompt(), notes=("cut", "mark"))
    rendered = dataclasses.replace(RENDERED, ignored=dict(zip(KEYS, "abcd", strict=True)))
    (document,) = strict_yaml.load_all(sidecars.text(a_job(), prompt, rendered))
    block = strict_yaml.plain(document)["rendered"]
    names = ("ignored_text", "ignored_negative_text", "ignored_text_2", "ignored_negative_text_2")
    expected = {**dict(zip(names, "abcd", strict=True)), "notes": ["cut", "mark"]}
    assert expected == {key: block[key] for key in expected}
    (document,) = strict_yaml.load_all(sidecars.text(a_job(), a_prompt(), RENDERED))
    assert not expected.keys() & strict_yaml.plain(document)["rendered"].keys()


def test_the_encoder_is_given_the_sidecars_text(tmp_path: Path) -> None:
    """The encoder gets the text of the sidecar to embed it."""
    given: list[str] = []

    def keep(path: Path, format: str, settings: str) -> None:
        encode(path, format, settings)
        given.append(settings)

    video = publish(Results(tmp_path), a_job(), a_prompt(), encode=keep)
    assert [video.sidecar.read_text(encoding="utf-8")] * 2 == given


def test_the_sidecar_comes_first_and_nothing_is_seen_half(tmp_path: Path) -> None:
    """The sidecar is written first; all files are encoded under temporary names."""
    seen: list[tuple[str, list[str]]] = []
    results, prompt = Results(tmp_path), a_prompt(formats=("mp4", "gif"))

    def look(path: Path, format: str, settings: str) -> None:
        encode(path, format, settings)
        assert temporaries.is_temporary(path.name)
        seen.append((format, [n for n in listed(path.parent) if not temporaries.is_temporary(n)]))
        (begun,) = results.reserved(a_job()).values()
        assert not is_published(begun)

    publish(results, a_job(), prompt, encode=look)
    assert [
        ("jpg", ["大_bird.yaml"]),
        ("mp4", ["大_bird.yaml"]),
        ("gif", ["大_bird.yaml"]),
    ] == seen


def test_a_video_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves no part of one; when it is told, a power cut does not lose it."""
    results, stem = Results(tmp_path), "大_bird"
    folder = publish(results, a_job(), a_prompt("a cow")).sidecar.parent
    steps = noted(monkeypatch)
    publish(results, a_job(), a_prompt(number=2))
    names = [f"name {stem}.jpg", f"name {stem}.mp4", f"flush {folder.name}"]
    sidecar = ["flush ~", f"name {stem}.yaml", f"flush {folder.name}"]
    assert [*sidecar, "flush ~", "flush ~", *names] == steps


def test_taken_names_get_a_number(tmp_path: Path) -> None:
    """An existing stem is never reused, also if it differs only in case."""
    folder = tmp_path / "poems" / "li_bai"
    folder.mkdir(parents=True)
    (folder / "A_BIRD.txt").write_text("somebody's")
    results = Results(tmp_path)
    texts = ("a bird", "A Bird", "a bird!", "a bird")
    videos = [publish(results, a_job(), a_prompt(text, n)) for n, text in enumerate(texts, start=1)]
    names = ["a_bird-2.mp4", "A_Bird-3.mp4", "a_bird!.mp4", "a_bird-4.mp4"]
    assert names == [video.files[0].name for video in videos]
    assert "somebody's" == (folder / "A_BIRD.txt").read_text()


@pytest.mark.parametrize("name", ["a_bird.jpg", "a_bird.mp4", "a_bird.gif"])
def test_a_name_that_is_taken_while_the_video_is_encoded_is_not_replaced(
    tmp_path: Path, name: str
) -> None:
    """Another job may file its mp4 away under that name meanwhile."""
    results, prompt = Results(tmp_path), a_prompt("a bird", formats=("mp4", "gif"))
    theirs = tmp_path / "poems" / "li_bai" / name

    def encode_late(path: Path, format: str, settings: str) -> None:
        encode(path, format, settings)
        theirs.write_text("theirs")

    video = publish(results, a_job(), prompt, encode=encode_late)
    assert "theirs" == theirs.read_text()
    assert "a_bird-2.yaml" == video.sidecar.name
    ours = [f"a_bird-2.{suffix}" for suffix in ("gif", "jpg", "mp4", "yaml")]
    assert sorted([name, *ours]) == listed(theirs.parent)
    assert {1: video} == results.reserved(a_job())


@pytest.mark.parametrize("name", ["a_bird.yaml", "a_bird.jpg", "a_bird.mp4"])
def test_a_name_that_is_there_but_not_listed_is_not_tried_again(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network share may list a folder as it was before."""
    folder = tmp_path / "poems" / "li_bai"
    folder.mkdir(parents=True)
    (folder / name).write_text("theirs")
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [n for n in listdir(path) if n != name])
    video = publish(Results(tmp_path), a_job(), a_prompt("a bird"))
    assert "a_bird-2.yaml" == video.sidecar.name
    assert "theirs" == (folder / name).read_text()
    assert 4 == len(listdir(folder))


def test_names_of_which_the_sidecar_is_gone_are_not_used_again(tmp_path: Path) -> None:
    """A person has removed an unfinished video, and another one has its names now."""
    results, prompt = Results(tmp_path), a_prompt("a bird")
    before = publish(results, a_job(), prompt)
    for file in (before.sidecar, *before.files):
        file.unlink()
    before.poster.unlink()
    other = publish(results, a_job(), a_prompt("a bird", 2))
    assert before.sidecar == other.sidecar
    again = publish(results, a_job(), prompt, earlier=before)
    assert {1: again, 2: other} == results.reserved(a_job())
    assert is_published(again)
    assert is_published(other)


def test_names_are_kept_until_the_video_is_published(tmp_path: Path) -> None:
    """Its sidecar is removed by a person while another video gets a name."""
    results, prompt = Results(tmp_path), a_prompt("a bird")
    before = publish(results, a_job(), prompt)
    before.files[0].unlink()
    before.poster.unlink()
    others: list[Video] = []

    def encode_beside(path: Path, format: str, settings: str) -> None:
        encode(path, format, settings)
        if not others:
            before.sidecar.unlink()
            others.append(publish(results, a_job(), a_prompt("a bird", 2)))

    video = publish(results, a_job(), prompt, before, encode_beside)
    assert ["a_bird-2.yaml"] == [other.sidecar.name for other in others]
    assert is_published(video)
    assert all(map(is_published, others))


def test_a_second_name_that_a_kill_has_left_is_not_written_to(tmp_path: Path) -> None:
    """A reader of the old file never sees it change; it sees the old or the new file."""
    results, prompt = Results(tmp_path), a_prompt("a bird")
    video = publish(results, a_job(), prompt)
    video.files[0].unlink()
    os.link(video.poster, temporaries.beside(video.poster, "20261124-1-1.jpg"))
    before = video.poster.read_text()

    def encode_other(path: Path, format: str, _settings: str) -> None:
        path.write_text("half")
        assert before == video.poster.read_text() or format != "jpg"

    publish(results, a_job(), prompt, earlier=video, encode=encode_other)


@pytest.mark.parametrize("composed", [True, False])
def test_names_are_compared_without_their_normal_form(tmp_path: Path, composed: bool) -> None:
    """A name that macOS stored in decomposed form is the same name."""
    folder = tmp_path / "poems" / "li_bai"
    folder.mkdir(parents=True)
    (folder / unicodedata.normalize("NFC" if composed else "NFD", "Été.mp4")).touch()
    video = publish(Results(tmp_path), a_job(), a_prompt("été"))
    assert "été-2.mp4" == video.files[0].name


def test_a_long_name_has_room_for_its_number(tmp_path: Path) -> None:
    """The names of a repeated long prompt can be synced, with their numbers."""
    results, prompt = Results(tmp_path), a_prompt("大" * 200)
    publish(results, a_job(), prompt)
    second = publish(results, a_job(), a_prompt("大" * 200, 2))
    assert second.sidecar.stem.endswith("-2")
    assert len(second.sidecar.name.encode()) <= 200


class EncodeError(Exception):
    """The error of an encoder that fails."""


def failing_at(format: str) -> Callable[[Path, str, str], None]:
    """Return an encoder that fails at one format, after it has written something."""

    def fail(path: Path, this: str, settings: str) -> None:
        encode(path, this, settings)
        if this == format:
            raise EncodeError

    return fail


@pytest.mark.parametrize("at", ["jpg", "mp4", "gif"])
def test_a_video_that_cannot_be_encoded_leaves_nothing(tmp_path: Path, at: str) -> None:
    """No file is left, and the next attempt takes the same names."""
    results, prompt = Results(tmp_path), a_prompt(formats=("mp4", "gif"))
    with pytest.raises(EncodeError):
        publish(results, a_job(), prompt, encode=failing_at(at))
    assert [] == listed(results.folder_for(a_job().source))


@pytest.mark.parametrize("at", range(1, 12))
def test_a_disk_that_fails_once_costs_no_name(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever fsync of a folder fails: what was made is removed, or found again."""
    results, fsync, calls = Results(tmp_path), durable.fsync_folder, itertools.count(1)

    def failing(folder: Path) -> None:
        if next(calls) == at:
            raise OSError(errno.EIO, "Input/output error")
        fsync(folder)

    monkeypatch.setattr(durable, "fsync_folder", failing)
    with contextlib.suppress(OSError):
        publish(results, a_job(), a_prompt())
    earlier = results.reserved(a_job()).get(1)
    if earlier is None or not is_published(earlier):
        publish(results, a_job(), a_prompt(), earlier=earlier)
    names = ["大_bird.jpg", "大_bird.mp4", "大_bird.yaml"]
    assert names == listed(results.folder_for(a_job().source))


@pytest.mark.parametrize("at", ["jpg", "mp4", "gif"])
def test_an_interrupted_video_is_published_under_the_same_names(tmp_path: Path, at: str) -> None:
    """A kill, and an error after it, leave the video its names."""
    results, prompt = Results(tmp_path), a_prompt(formats=("mp4", "gif"))
    killed = publish(results, a_job(), prompt)
    order = ["jpg", "mp4", "gif"]
    for suffix in order[order.index(at) :]:
        killed.sidecar.with_suffix(f".{suffix}").unlink()
    with pytest.raises(EncodeError):
        publish(results, a_job(), prompt, killed, failing_at(at))
    folder = results.folder_for(a_job().source)
    assert not any(temporaries.is_temporary(name) for name in listed(folder))
    begun = results.reserved(a_job())
    assert [1] == list(begun)
    assert not is_published(begun[1])
    video = publish(results, a_job(), prompt, earlier=begun[1])
    assert begun[1] == video
    assert is_published(video)
    assert sorted(f"大_bird.{s}" for s in ("gif", "jpg", "mp4", "yaml")) == listed(folder)


@pytest.mark.parametrize(("missing", "is_still"), [("jpg", True), ("mp4", True), ("gif", False)])
def test_a_video_is_published_when_its_last_file_is_there(
    tmp_path: Path, missing: str, is_still: bool
) -> None:
    """What is missing beside it was taken away by a person, and is not rendered again."""
    video = publish(Results(tmp_path), a_job(), a_prompt(formats=("mp4", "gif")))
    assert is_published(video)
    video.sidecar.with_suffix(f".{missing}").unlink()
    assert is_still == is_published(video)


def test_reserved_finds_the_videos_of_one_job(tmp_path: Path) -> None:
    """Only sidecars of this job count; prompt files and strangers' YAML are skipped."""
    results, job = Results(tmp_path), a_job()
    assert {} == results.reserved(job)
    first = publish(results, job, a_prompt("one", 1, ("webm",)))
    third = publish(results, job, a_prompt("three", 3, ("mp4", "gif")))
    publish(results, a_job("20261124-2"), a_prompt("other", 2))
    folder = results.folder_for(job.source)
    (folder / "li_bai.yaml").write_text("prompt: 20261124-1")
    (folder / "half.yaml").write_text("rendered: {job: 20261124-1}")
    (folder / "list.yaml").write_text("- 20261124-1")
    (folder / "broken.yaml").write_text("a: [ 20261124-1")
    (folder / "empty.yaml").write_text("# 20261124-1")
    (folder / "bytes.yaml").write_bytes(b"20261124-1 \xff")
    (folder / "dir.yaml").mkdir()
    (folder / "dangling.yaml").symlink_to("20261124-1")
    assert {1: first, 3: third} == results.reserved(job)


@pytest.mark.parametrize(
    ("is_now", "was"),
    [
        ("number: []", "number: 1"),
        ("number: {a: 1}", "number: 1"),
        ("number: '1'", "number: 1"),
        ("number: true", "number: 1"),
        ("format: a/b", "format: mp4"),
        ("format: ''", "format: mp4"),
        ("format: [1]", "format: mp4"),
        ("format: [mp4, [gif]]", "format: mp4"),
        ("format: []", "format: mp4"),
        ("format: 4", "format: mp4"),
    ],
)
def test_a_sidecar_that_somebody_has_spoilt_is_nobodys(
    is_now: str, was: str, tmp_path: Path
) -> None:
    """A sidecar that names no video any more reserves no name, and is left alone."""
    results, job = Results(tmp_path), a_job()
    video = publish(results, job, a_prompt())
    spoilt = video.sidecar.read_text(encoding="utf-8").replace(was, is_now)
    assert is_now in spoilt
    video.sidecar.write_text(spoilt, encoding="utf-8")
    assert {} == results.reserved(job)
    results.clean(job)
    assert spoilt == video.sidecar.read_text(encoding="utf-8")


def test_clean_removes_what_a_kill_left(tmp_path: Path) -> None:
    """Temporary files of this job are removed; those of another job stay."""
    results, job = Results(tmp_path), a_job()
    results.clean(job)
    video = publish(results, job, a_prompt())
    ours = temporaries.beside(video.files[0], f"{job.id}-1.mp4")
    others = temporaries.beside(video.files[0], "20261124-2-1.mp4")
    ours.touch()
    others.touch()
    results.clean(job)
    assert not ours.exists()
    assert others.exists()
    assert is_published(video)


def test_clean_keeps_whole_files(tmp_path: Path) -> None:
    """A person may have removed the others; a sidecar and a poster alone are what a kill left."""
    results, job = Results(tmp_path), a_job()
    video = publish(results, job, a_prompt(formats=("mp4", "gif")))
    video.poster.unlink()
    video.files[1].unlink()
    assert [1] == results.clean(job)
    assert [video.files[0].name, video.sidecar.name] == listed(video.sidecar.parent)
    video.files[0].rename(video.poster)
    assert [] == results.clean(job)
    assert [] == listed(video.sidecar.parent)


def test_published_files_are_readable_by_others(tmp_path: Path) -> None:
    """The umask decides on the mode of published files."""
    before = os.umask(0o022)
    try:
        video = publish(Results(tmp_path), a_job(), a_prompt())
    finally:
        os.umask(before)
    assert 0o644 == video.sidecar.stat().st_mode & 0o777


def test_a_copy_of_a_sidecar_is_not_taken_for_the_sidecar(tmp_path: Path) -> None:
    """A copy is a prompt file, and is neither replaced nor removed."""
    results, job = Results(tmp_path), a_job()
    video = publish(results, job, a_prompt("bird"))
    for name in ("aa.yaml", "zz.yaml"):
        video.sidecar.with_name(name).write_bytes(video.sidecar.read_bytes())
    assert {1: video} == results.reserved(job)
    assert [1] == results.clean(job)
    assert {"aa.yaml", "zz.yaml"} < set(listed(video.sidecar.parent))


def test_a_huge_file_is_no_sidecar(tmp_path: Path) -> None:
    """It is not read into memory, and the job continues."""
    results, job = Results(tmp_path), a_job()
    video = publish(results, job, a_prompt())
    with video.sidecar.with_name("z.yaml").open("wb") as file:
        file.truncate(1 << 40)
    assert {1: video} == results.reserved(job)


def test_hundreds_of_videos_of_one_prompt_get_their_names_after_a_few_looks_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are numbered without a gap, and no two have one name; a name that was lost is free."""
    looks: list[str] = []
    folded_stem = stems.folded_stem

    def noted(name: str) -> str:
        looks.append(name)
        return folded_stem(name)

    monkeypatch.setattr(stems, "folded_stem", noted)
    chooser, found = Stems(), list[str]()
    for _ in range(400):
        with chooser.chosen(tmp_path, "", "a", set()) as name:
            (tmp_path / name).touch(exist_ok=False)
            found.append(name)
    assert ["a.yaml", *(f"a-{number}.yaml" for number in range(2, 401))] == found
    assert len(looks) < 400 * 25
    (tmp_path / "a.yaml").unlink()
    with Stems().chosen(tmp_path, "", "a", set()) as name:
        assert "a.yaml" == name


def test_a_folder_with_thousands_of_videos_is_not_listed_for_each_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names differ all the same, and a stranger's file is seen soon."""
    (tmp_path / "0.txt").touch()
    for number in range(1, 3000):
        os.link(tmp_path / "0.txt", tmp_path / f"{number}.txt")
    chooser, listings, listdir = Stems(), list[object](), os.listdir

    def noted(folder: str) -> list[str]:
        listings.append(folder)
        return listdir(folder)

    def name(stem: str) -> str:
        with chooser.chosen(tmp_path, "", stem, set()) as found:
            (tmp_path / found).touch()
            return found

    monkeypatch.setattr(os, "listdir", noted)
    assert 100 == len({name("a") for _ in range(100)})
    assert len(listings) < 50
    end = time.monotonic() + 60
    for number in itertools.count():
        (tmp_path / f"b{number}.txt").touch()
        if name(f"B{number}") == f"B{number}-2.yaml":
            break
        assert time.monotonic() < end, "the list is never made again"
