"""How pictures come: before, with or after their prompt file, or never; and what is taken then."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.arrivals import CAPABILITIES, SCAN, SETTLE, Place
from harness.jobs import says
from reeldrop.base.job import Job
from reeldrop.base.picture_files import MOST_BYTES, PictureFiles
from reeldrop.intake import pictures
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.wishes import LONE, NEIGHBOURS_SECONDS, PICTURE_SECONDS
from reeldrop.prompts.rules import ModelRules
from reeldrop.store import pictures as job_pictures

RULES = {
    name: ModelRules(name, replace(CAPABILITIES, pictures=takes), {}, {})
    for name, takes in {"first": {"image": True}, "may": {"image": False}, "text": {}}.items()
} | {"unloaded": None}
NAMED = "prompt: a\nimage: first.png\n"


def made(folder: Path, model: str = "first", *, patient: bool = True) -> Place:
    """Return an empty inbox, with the model for prompts that name none."""
    rules = {model: RULES[model], **RULES}
    return Place(folder / "place", rules=rules, patient=patient)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty inbox, and a model that needs a first picture."""
    found = made(tmp_path)
    yield found
    found.intake.close()


def taken(place: Place) -> dict[str, list[str]]:
    """Return the pictures in the folder of each job that was taken."""
    return {str(job.source): [p.name for p in job_pictures.of(job)] for job in place.taken}


def left(place: Place) -> list[str]:
    """Return what is in the inbox."""
    return sorted(str(p.relative_to(place.inbox)) for p in place.inbox.rglob("*") if p.is_file())


@pytest.mark.parametrize("order", [["first.png", "a.yaml"], ["a.yaml", "first.png"]])
@pytest.mark.parametrize("pause", [0, 60])
def test_a_file_waits_for_its_picture_and_takes_it_along(
    place: Place, order: list[str], pause: int
) -> None:
    """Whichever comes first; until both have settled, the status says what is missing."""
    place.drop(order[0], NAMED)
    place.go_on(pause)
    if pause and order[0] == "a.yaml":
        assert place.waiting()["a.yaml"].startswith("waits for its picture first.png; waits 35")
    place.drop(order[1], NAMED)
    place.go_on(SETTLE - 0.1)
    assert [] == place.taken
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"]} == taken(place)
    assert [] == left(place)
    (prompt,) = place.intake.reader.read_job(place.taken[0]).prompts
    (picture,) = prompt.pictures
    assert NAMED.encode() == picture.path.read_bytes()
    assert hashlib.sha256(NAMED.encode()).hexdigest() == picture.sha256


def test_a_picture_that_grows_keeps_its_file_waiting(place: Place) -> None:
    """Also for longer than one is waited for that never comes."""
    place.drop("a.yaml", NAMED)
    for size in range(int(PICTURE_SECONDS / 60) + 10):
        place.drop("first.png", b"x" * size)
        place.intake.look(place.now)
        if size:
            assert "its picture first.png has just changed" in place.waiting()["a.yaml"]
        assert [] == place.taken
        place.now += 60
        place.drop("first.png", b"y" * size)
        place.go_on(0)
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"]} == taken(place)


def test_a_picture_that_is_being_sent_keeps_its_file_waiting(place: Place) -> None:
    """A temporary file of a sync tool counts as still coming, as long as it changes."""
    place.drop("a.yaml", NAMED)
    for size in range(3):
        place.drop(".syncthing.first.png.tmp", b"x" * size)
        place.go_on(PICTURE_SECONDS - 60)
    reasons = place.waiting()
    assert "its picture first.png is still being written by Syncthing" in reasons["a.yaml"]
    assert "left unfinished by Syncthing" == reasons["first.png"]
    os.rename(place.inbox / ".syncthing.first.png.tmp", place.inbox / "first.png")
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"]} == taken(place)


def test_a_picture_that_a_program_writes_is_waited_for(place: Place) -> None:
    """It may pause for longer than files need to settle."""
    place.drop("a.yaml", NAMED)
    with (place.inbox / "first.png").open("wb") as file:
        file.write(b"half")
        file.flush()
        place.go_on(30)
        assert [] == place.taken
        assert "its picture first.png is still being written by" in place.waiting()["a.yaml"]
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"]} == taken(place)


def test_a_picture_that_never_comes_is_named_in_the_report(place: Place) -> None:
    """The file is set aside with those that came."""
    place.drop("a.yaml", "prompts: [a, b]\nimage: [first.png, second.png]\n")
    place.drop("first.png")
    place.go_on(PICTURE_SECONDS - 60)
    assert {} == place.refused
    place.go_on(60 + SCAN + SETTLE)
    assert "the picture second.png has not come" in place.refused["a.yaml"]
    failed = place.folder / "failed"
    assert ["first.png"] == os.listdir(failed / "a.yaml.pictures")
    assert [] == left(place)


def test_a_picture_of_another_case_or_that_is_ignored_is_named(place: Place) -> None:
    """While the file waits, and in its report: nobody would guess why it does not come."""
    inbox = place.intake._inbox
    inbox.names = replace(inbox.names, ignored=Ignored(["*-draft.png"]))
    place.drop("a.yaml", NAMED)
    place.drop("x/boat-draft.txt")
    for name in ("First.PNG", "x/boat-draft.png"):
        place.drop(name)
    place.go_on(60)
    waiting = place.waiting()
    case = "; First.PNG is there, but upper and lower case count"
    ignored = "; boat-draft.png is there, but `ignore:` in config.yaml has its name"
    assert waiting["a.yaml"].startswith(f"waits for its picture first.png{case}; ")
    assert waiting["x/boat-draft.txt"].startswith(f"waits for a picture of its name{ignored}; ")
    place.go_on(PICTURE_SECONDS + SCAN)
    assert f"the picture first.png has not come{case}" in place.refused["a.yaml"]
    assert ignored in place.refused["x/boat-draft.txt"]


def test_a_drain_waits_for_no_picture(tmp_path: Path) -> None:
    """Nobody is there to bring it."""
    place = made(tmp_path, patient=False)
    place.drop("a.yaml", NAMED)
    place.drop("b.txt")
    place.go_on(2 * SETTLE + SCAN)
    assert {"a.yaml", "b.txt"} == place.refused.keys()
    place.intake.close()


def test_a_picture_of_the_same_name_belongs_to_the_file(place: Place) -> None:
    """With a model that needs one, a text waits for it, in upper case, too."""
    place.drop("boat.txt")
    place.drop("x/boat.JPG")
    place.go_on(60)
    assert [] == place.taken
    assert place.waiting()["boat.txt"].startswith("waits for a picture of its name; waits 35")
    assert LONE == place.waiting()["x/boat.JPG"]
    os.rename(place.inbox / "x" / "boat.JPG", place.inbox / "boat.JPG")
    place.go_on(SCAN + SETTLE)
    assert {"boat.txt": ["boat.JPG"]} == taken(place)
    assert PictureFiles(("boat.JPG",), (), "boat.JPG") == place.taken[0].pictures


def test_a_text_without_its_picture_is_refused_in_the_end(place: Place) -> None:
    """The report says what the model needs."""
    place.drop("boat.txt")
    place.go_on(PICTURE_SECONDS + SCAN)
    assert "first makes no video without a picture" in place.refused["boat.txt"]


def test_a_model_that_may_take_a_picture_takes_what_is_there(tmp_path: Path) -> None:
    """A text is not held up; but a picture that came while it waited for its turn counts."""
    place = made(tmp_path, "may")
    place.drop("alone.txt")
    place.drop("boat.txt")
    place.settle()
    place.drop("boat.png")
    place.intake.look(place.now + SCAN)
    place.go_on(2 * SCAN)
    assert {"alone.txt": [], "boat.txt": ["boat.png"]} == taken(place)
    place.intake.close()


def test_a_model_that_takes_none_leaves_pictures_where_they_are(tmp_path: Path) -> None:
    """The video is made from the text, and its sidecar says that the picture was not used."""
    place = made(tmp_path, "text")
    place.drop("boat.txt")
    place.drop("boat.png")
    place.go_on(SCAN + SETTLE)
    assert {"boat.txt": []} == taken(place)
    assert LONE == place.waiting()["boat.png"]
    (prompt,) = place.intake.reader.read_job(place.taken[0]).prompts
    assert "boat.png, the picture of the same name, was not used" in prompt.notes[0]
    place.intake.close()


def test_other_settings_ask_anew_for_pictures(tmp_path: Path) -> None:
    """A file that was read for a model that takes none may start from its picture now."""
    place = made(tmp_path, "text")
    place.drop("boat.txt")
    place.drop("boat.png")
    place.settle()
    place.intake.close()
    place.rules = {"first": RULES["first"], **RULES}
    place.intake = place.make_intake().after(place.intake)
    place.go_on(2 * SCAN)
    assert {"boat.txt": ["boat.png"]} == taken(place)
    place.intake.close()


def test_several_pictures_of_the_same_name_are_a_mistake(place: Place) -> None:
    """Which one was meant is not guessed."""
    for name in ("boat.png", "boat.webp", "boat.txt"):
        place.drop(name)
    place.go_on(SCAN + SETTLE)
    assert "several pictures have its name: boat.png, boat.webp" in place.refused["boat.txt"]
    assert ["boat.png", "boat.webp"] == left(place)


def test_two_files_that_name_one_picture_both_get_it(place: Place) -> None:
    """The first one copies it, the last one takes it; also where they come one by one."""
    place.drop("first.png", b"the picture")
    place.drop("a.yaml", NAMED)
    place.go_on(SETTLE - 0.5)
    place.drop("b.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"], "b.yaml": ["first.png"]} == taken(place)
    copies = [job_pictures.of(job)[0] for job in place.taken]
    assert [b"the picture"] * 2 == [copy.read_bytes() for copy in copies]
    assert [("first.png",), ()] == [job.pictures.shared for job in place.taken]
    assert [] == left(place)


def test_two_files_that_are_taken_together_both_get_their_picture(place: Place) -> None:
    """They are claimed one after the other, as each has to know which others still need it."""
    place.drop("first.png", b"the picture")
    place.drop("a.yaml", NAMED)
    place.drop("b.yaml", NAMED)
    place.settle()
    jobs = [job for job in place.intake.take_all(place.intake.first()) if job is not None]
    assert [["first.png"]] * 2 == [[path.name for path in job_pictures.of(job)] for job in jobs]
    assert [] == left(place)


@pytest.mark.parametrize(
    "name", ["_defaults.yaml", "~draft.yaml", "README", "b.yaml", "c.txt.cancel.txt"]
)
def test_what_is_beside_a_file_with_pictures_does_not_keep_it(place: Place, name: str) -> None:
    """Defaults, ignored files, control files, other prompt files, and what is none."""
    contents = {"_defaults.yaml": "seed: 1\n", "c.txt.cancel.txt": ""}
    place.drop(f"sub/{name}", contents.get(name, "prompt: b\n"))
    place.drop("sub/first.png")
    place.drop("sub/a.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    assert ["first.png"] == taken(place)["sub/a.yaml"]


def test_a_file_does_not_wait_for_ever_for_its_neighbours(place: Place) -> None:
    """Another one that keeps changing may want its picture, or not."""
    place.drop("first.png")
    place.drop("a.yaml", NAMED)
    for number in range(int(NEIGHBOURS_SECONDS / SETTLE) + 5):
        place.drop("b.yaml", f"{NAMED}# {'x' * number}\n")
        place.go_on(SETTLE - 0.1)
    assert {"a.yaml": ["first.png"]} == taken(place)


def test_a_new_picture_under_an_old_name_is_another_one(place: Place) -> None:
    """What a job has taken is not given to a later file, which may mean the one that is coming."""
    place.drop("first.png", b"old")
    place.drop("a.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    place.drop("b.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    assert ["a.yaml"] == place.names()
    place.drop("first.png", b"new")
    place.go_on(SCAN + SETTLE)
    assert [b"old", b"new"] == [job_pictures.of(job)[0].read_bytes() for job in place.taken]


def replaced_by(kind: str, path: Path) -> None:
    """Put something else than a plain file under a name."""
    match kind:
        case "link":
            path.symlink_to("/etc/hostname")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_no_picture(place: Place, kind: str) -> None:
    """It is neither opened nor moved, and the report says what it is."""
    replaced_by(kind, place.inbox / "first.png")
    place.drop("a.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    what = "a link" if kind == "link" else "no plain file"
    assert f"the picture first.png is {what}" in place.refused["a.yaml"]
    assert os.path.lexists(place.inbox / "first.png")


def test_a_picture_that_becomes_a_link_while_it_is_taken_is_not_followed(place: Place) -> None:
    """The job has no picture then, and says so."""
    place.drop("first.png")
    place.drop("a.yaml", NAMED)
    place.settle()
    os.unlink(place.inbox / "first.png")
    (place.inbox / "first.png").symlink_to("/etc/hostname")
    job = place.spool.claim(Path("a.yaml"), (), beside=PictureFiles(("first.png",)))  # type: ignore[arg-type]
    assert isinstance(job, Job)
    (prompt,) = place.intake.reader.read_job(job).prompts
    problem = pictures.problem_of(prompt)
    assert "first.png was there when the prompt file was taken, and can't be read" in str(problem)


def test_a_folder_that_goes_away_takes_its_pictures_along(place: Place) -> None:
    """Whenever that is: nothing is claimed, and nothing else is held up."""
    for name in ("x/a.yaml", "x/first.png", "y/b.yaml", "y/first.png"):
        place.drop(name, NAMED)
    place.settle()
    shutil.rmtree(place.inbox / "x")
    place.go_on(2 * SCAN)
    assert {"y/b.yaml": ["first.png"]} == taken(place)
    assert {} == place.refused


def test_pictures_have_a_size_that_they_may_have(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each, and all of a file together: said with the sizes, and nothing is copied."""
    place.drop("first.png", b"")
    os.truncate(place.inbox / "first.png", MOST_BYTES + 1)
    place.drop("a.yaml", NAMED)
    place.go_on(SCAN + SETTLE)
    assert "has 25,165,825 bytes, more than 25,165,824" in place.refused["a.yaml"]
    assert ["first.png"] == left(place)
    monkeypatch.setattr(pictures, "MAX_TOGETHER", 9)
    place.drop("b.yaml", "prompts: [a, b]\nimage: [x.png, y.png]\n")
    place.drop("x.png", b"12345")
    place.drop("y.png", b"12345")
    place.go_on(SCAN + SETTLE)
    assert "10 bytes together, more than 9" in place.refused["b.yaml"]


def test_accents_may_be_written_in_two_ways(place: Place) -> None:
    """A Mac takes the letters of a name apart, and people type them composed."""
    for folder in ("", "\u00fc/"):
        place.drop(f"{folder}ku\u0308ste.png")
        place.drop(f"{folder}a.yaml", "prompt: a\nimage: k\u00fcste.png\n")
    place.go_on(SCAN + SETTLE)
    assert [["k\u00fcste.png"]] * 2 == list(taken(place).values())


def test_a_picture_alone_says_what_it_waits_for(place: Place) -> None:
    """It stays where it is, and counts among what is not recognised."""
    for name in ("a.png", "b.webp", "x/c.jpeg"):
        place.drop(name)
    place.go_on(PICTURE_SECONDS * 2)
    assert dict.fromkeys(["a.png", "b.webp", "x/c.jpeg"], LONE) == place.waiting()
    assert (0, 3) == (place.intake.waiting(place.now)[1], place.intake.unrecognised()[1])
    assert ["a.png", "b.webp", "x/c.jpeg"] == left(place)


def test_a_file_whose_model_is_not_loaded_takes_the_pictures_that_it_names(place: Place) -> None:
    """What it may ask is known later, and its pictures have to be there then."""
    place.drop("a.yaml", NAMED + "model: unloaded\n")
    place.go_on(SCAN + SETTLE)
    assert [] == place.taken
    place.drop("first.png")
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": ["first.png"]} == taken(place)


def test_a_sidecar_whose_picture_has_changed_says_so(place: Place) -> None:
    """It is rendered with the picture that is there."""
    place.drop("a.yaml", NAMED + f"rendered: {{pictures: {{first.png: {'f' * 64}}}}}\n")
    place.drop("first.png")
    place.go_on(SCAN + SETTLE)
    (prompt,) = place.intake.reader.read_job(place.taken[0]).prompts
    assert ("first.png is not the picture that the sidecar was made with",) == prompt.notes


def test_hashing_all_pictures_of_a_file_takes_little_time(place: Place) -> None:
    """The main thread does it, once for each job that is opened."""
    place.drop("a.yaml", NAMED)
    place.drop("first.png", bytes(MOST_BYTES))
    place.go_on(SCAN + SETTLE)
    began = time.thread_time()
    place.intake.reader.read_job(place.taken[0])
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize("bad", ["a.yaml", "c.yaml"])
def test_a_file_with_a_mistake_takes_no_picture_that_another_one_names(
    place: Place, bad: str
) -> None:
    """Whichever of the two is read first: it gets a copy."""
    place.drop("first.png", b"the picture")
    place.drop("b.yaml", NAMED)
    place.drop(bad, f"{NAMED}colour: red\n")
    place.go_on(SCAN + SETTLE)
    assert {"b.yaml": ["first.png"]} == taken(place)
    assert [bad] == list(place.refused)
    kept = place.folder / "failed" / f"{bad}.pictures" / "first.png"
    assert b"the picture" == kept.read_bytes()
    assert [] == left(place)


def set_aside_twice(place: Place, name: str, content: str) -> list[str]:
    """Let a file with a picture `boat.png` fail twice; return the pictures of the second one."""
    for number in range(2):
        place.drop("boat.png", f"{number}")
        place.drop(name, f"{content}# {number}\n")
        place.go_on(SCAN + SETTLE)
        for job in place.taken:
            place.spool.fail(job, says("no"))
        place.taken.clear()
    stem, _, ending = name.partition(".")
    return os.listdir(place.folder / "failed" / f"{stem}-2.{ending}.pictures")


def test_pictures_in_failed_have_the_names_by_which_a_retry_finds_them(place: Place) -> None:
    """That of the prompt file there, or the one that is in it; of files with mistakes, too."""
    assert ["boat-2.png"] == set_aside_twice(place, "boat.txt", "a boat\n")
    named = "prompt: a\nimage: boat.png\n"
    assert ["boat.png"] == set_aside_twice(place, "boat.yaml", named)
    assert ["boat-2.png"] == set_aside_twice(place, "boat.yml", "prompt: a\ncolour: red\n")


def test_a_picture_whose_name_is_too_long_in_parts_is_waited_for(place: Place) -> None:
    """A Korean name is three times as long as Macs write it, and no file can be called so."""
    name = "\ud55c" * 40 + ".png"
    place.drop("a.yaml", f"prompt: a\nimage: {name}\n")
    place.go_on(60)
    assert "waits for its picture" in place.waiting()["a.yaml"]
    place.drop(name)
    place.go_on(SCAN + SETTLE)
    assert {"a.yaml": [name]} == taken(place)


def test_a_picture_that_grew_while_its_file_waited_is_looked_at_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that waits for its turn could get more of them than can be hashed."""
    place.drop("first.png")
    place.drop("a.yaml", NAMED)
    place.settle()
    monkeypatch.setattr(pictures, "MAX_TOGETHER", 9)
    place.drop("first.png", b"0123456789")
    place.now += SCAN
    place.go_on(SCAN + SETTLE)
    assert "10 bytes together, more than 9" in place.refused["a.yaml"]


def test_a_screenshot_of_a_mac_starts_a_video(place: Place) -> None:
    """Its name has a narrow no-break space before AM or PM."""
    name = "Screenshot 2026-11-28 at 9.41.00\u202fAM"
    place.drop(f"{name}.txt")
    place.drop(f"{name}.png")
    place.go_on(SCAN + SETTLE)
    assert {f"{name}.txt": [f"{name}.png"]} == taken(place)
