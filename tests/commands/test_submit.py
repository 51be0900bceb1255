"""submit: what the daemon would refuse is refused at once, and shell mistakes are explained."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from harness.processes import run
from harness.rules import RULES
from harness.site import Site, make_site
from harness.zygote import REELDROP
from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import Mistake, PromptError, Unavailable, WrongUsage
from reeldrop.base.picture_files import MOST_BYTES
from reeldrop.commands import cli, submit, typed
from reeldrop.commands.check_file import check_file
from reeldrop.config import config
from reeldrop.config.config import Config
from reeldrop.prompts import parsing
from reeldrop.store.spool import Spool
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Site:
    """A site on which a daemon has loaded the pipeline before."""
    site = make_site(tmp_path_factory.mktemp("known") / "site", tiny_pipeline)
    assert 0 == site.drain().returncode
    return site


def settings_of(site: Site) -> Config:
    """Return the settings of a site."""
    return config.load(site.folder / "config.yaml")


def test_what_the_daemon_would_refuse_is_refused_at_once(known: Site) -> None:
    """Keys, types and limits, with the daemon's messages, all at once; nothing is written."""
    for given, words in (
        (["num_frams=3"], ["reeldrop: unknown key 'num_frams'", "did you mean 'num_frames'"]),
        (["num_frames=many"], ["reeldrop: num_frames must be a whole number"]),
        (["num_frames=33"], ["reeldrop: num_frames is 33", "use 32 or less"]),
        (["height=100", "seed=-1"], ["height of 100", "seed is -1"]),
        (["model=none"], ["there is no model 'none'"]),
        (["priority=11"], ["priority must be a whole number from -10 to 10"]),
        (["rendered=1", "prompts=[a]"], ["either `prompt` or `prompts`"]),
    ):
        options = [f"--set={assignment}" for assignment in given]
        ended = known.command("submit", "a horse", *options)
        assert (2, "") == (ended.returncode, ended.stdout), given
        assert [] == [word for word in words if word not in ended.stderr], (given, ended.stderr)
        lines = ended.stderr.splitlines()
        assert all(line.startswith("reeldrop: ") and "line 1" not in line for line in lines)
    assert [] == list(known.inbox.iterdir())


def test_what_is_right_is_shown_where_it_is_announced(
    known: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below the mistake, as in the report; a line that stands alone announces nothing."""
    pasted = known.folder / "pasted.txt"
    pasted.write_text("a red ball\nNegative prompt: blurry\n")
    assert 1 == check_file(settings_of(known), pasted, as_json=False)
    told = capsys.readouterr().err
    assert "(write it as YAML, in pasted.yaml)\n    prompt: a red ball\n    negative_pr" in told
    refused = known.command("submit", "a <lora:x:0.8> horse")
    assert (2, True) == (refused.returncode, "\n    reeldrop submit 'a horse'\n" in refused.stderr)


def test_what_is_checked_before_the_service_has_started(
    tmp_path: Path, tiny_pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The form alone; it is said what is still to be checked, and how."""
    site = make_site(tmp_path / "site", tiny_pipeline)
    file = site.folder / "a.yaml"
    file.write_text("prompt: a\nseed: [1\n")
    assert 1 == check_file(settings_of(site), file, as_json=False)
    assert "the [ in line 2 is not closed" in capsys.readouterr().err
    file.write_text("prompt: a\nnum_frames: 9\n")
    with pytest.raises(Unavailable) as caught:
        check_file(settings_of(site), file, as_json=False)
    told = str(caught.value)
    assert "the form of the file is right, but its settings are not checked yet" in told
    assert "start the service once, with `reeldrop run`, and check again" in told
    assert "the model tiny allows" in told
    with pytest.raises(Unavailable):
        check_file(settings_of(site), file, as_json=True)
    with pytest.raises(WrongUsage):
        check_file(settings_of(site), file.with_name("none.yaml"), as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [None, None] == [one["videos"] for one in found]
    assert [told] == found[0]["problems"]
    assert "No such file" in found[1]["problems"][0]


@pytest.mark.parametrize(
    ("settings", "problem", "command"),
    [
        (
            {"prompt": "a {red|green} fox"},
            "(for each of them, write `--set wildcards=all` beside it; or put spaces",
            "reeldrop submit --set wildcards=all 'a {red|green} fox'",
        ),
        ({"prompt": "a <lora:x:1> fox"}, "(take it out", "reeldrop submit 'a fox'"),
        ({"prompt": "a fox", "num_frames": "many"}, "such as `--set num_frames=9`)", ""),
        ({"prompt": "a fox", "seed": -1}, "(leave it out for a new seed each time", ""),
        ({"prompt": "a fox", "model": "x"}, "without `--set model=...`, it is tiny)", ""),
    ],
)
def test_who_has_typed_a_text_is_told_what_to_type(
    settings: dict[str, object], problem: str, command: str
) -> None:
    """Not what to write into a file; and the command that is shown is accepted."""

    def mistakes(found: dict[str, object]) -> list[Mistake]:
        text = yaml_text.dump(found).encode()
        try:
            parsing.parse("submitted.yaml", text, (), RULES, "tiny", lambda number: number)
        except PromptError as error:
            return [*error.mistakes]
        return []

    [mistake] = mistakes(settings)
    [told, *shown] = typed.lines(mistake)
    assert problem in told
    assert "YAML" not in told
    assert "line" not in told
    assert [f"    {command}"] * bool(command) == shown
    for one in shown:
        _, _, *words = shlex.split(one)
        assigned = [word for word in words[:-1] if word != "--set"]
        assert [] == mistakes({"prompt": words[-1], **submit.parsed(assigned)})


def test_what_has_no_effect_is_said_at_once(known: Site) -> None:
    """The notes that the sidecar will have."""
    options = ["--set=guidance_scale=1", "--set=negative_prompt=blurry"]
    ended = known.command("submit", "a horse --steps 12", *options)
    assert 0 == ended.returncode
    assert "the negative prompt has no effect" in ended.stderr
    assert "has options of a command line; it is text here" in ended.stderr
    (written,) = known.inbox.iterdir()
    written.unlink()


def test_defaults_of_the_inbox_count(known: Site) -> None:
    """A mistake there is reported with its file and line; the video is where they put it."""
    defaults = known.drop("_defaults.yaml", "num_frames: 99\n")
    refused = known.command("submit", "a horse")
    assert (2, True) == (refused.returncode, "_defaults.yaml, line 1" in refused.stderr)
    defaults.write_text("num_frames: 8\nformat: [gif, mp4]\n")
    taken = known.command("submit", "a horse")
    assert (0, "") == (taken.returncode, taken.stderr)
    assert taken.stdout.endswith("will be " + str(known.results / "a_horse/a_horse.gif\n"))
    for file in known.inbox.iterdir():
        file.unlink()


def test_what_is_not_known_is_left_to_the_daemon(site: Site) -> None:
    """If no daemon has loaded this pipeline, its keys are not checked."""
    settings = settings_of(site)
    assert submit.write_order(settings, "a cow", {}).prompt_file.exists()
    submit.submit_prompt(settings, "x", {"odd": 1}, checks=True, waits=False, as_json=True)
    assert {"a_cow.yaml", "x.yaml"} == {file.name for file in site.inbox.iterdir()}


def test_a_picture_that_can_not_be_one_is_refused_at_once(known: Site) -> None:
    """By its ending, size or kind, or because the model takes none; nothing is copied."""
    for name, content in (("a.png", b"x"), ("a.gif", b"x"), ("large.png", b"")):
        (known.folder / name).write_bytes(content)
    os.truncate(known.folder / "large.png", MOST_BYTES + 1)
    os.mkfifo(known.folder / "pipe.png")
    for name, options, words in (
        ("a.png", [], "tiny takes no image"),
        ("a.png", ["--set", "image=b.png"], "image is given twice"),
        ("a.gif", [], "does not end like a picture"),
        ("large.png", [], "more than 25,165,824 bytes"),
        ("pipe.png", [], "can't be read: this is not a plain file"),
        ("gone.png", [], "can't be read: No such file"),
    ):
        ended = known.command("submit", "a cow", "--image", str(known.folder / name), *options)
        assert (2, "") == (ended.returncode, ended.stdout), name
        assert words in ended.stderr
    assert [] == list(known.inbox.iterdir())


def test_pictures_are_copied_before_the_prompt_file(site: Site, tmp_path: Path) -> None:
    """Under its name; a name that is taken in the inbox is not used."""
    files = {"image": tmp_path / "1.JPG", "last_image": tmp_path / "2.png"}
    for file in files.values():
        file.write_text(file.name)
    site.drop("a_cow.jpg", "another")
    order = submit.write_order(settings_of(site), "a cow", {}, files)
    assert "a_cow-2.yaml" == order.prompt_file.name
    text = order.prompt_file.read_text()
    assert "image: a_cow-2.jpg\nlast_image: a_cow-2-last.png" in text
    found = {path.name: path.read_text() for path in site.inbox.iterdir() if path.suffix != ".yaml"}
    assert {
        "a_cow.jpg": "another",
        "a_cow-2.jpg": "1.JPG",
        "a_cow-2-last.png": "2.png",
    } == found


def test_a_prompt_without_quotes_is_explained(site: Site) -> None:
    """With the right command; a single word is a prompt."""
    ended = site.command("submit", "a", "red", "man's", "balloon")
    assert 2 == ended.returncode
    hint = ended.stderr.splitlines()[-1].partition("reeldrop submit ")[2]
    assert ["a red man's balloon"] == shlex.split(hint)
    assert 0 == site.command("submit", "balloon", "--set", "seed=1").returncode


def test_a_prompt_that_begins_with_a_dash(site: Site) -> None:
    """It goes after `--`, and the hint can be copied; its file name does not begin with a dash."""
    for prompt, name in (
        ("- a ball", "a_ball"),
        ("-5 degrees", "5_degrees"),
        ("--film x", "film_x"),
    ):
        refused = site.command("submit", prompt)
        assert (2, "") == (refused.returncode, refused.stdout)
        command = shlex.split(refused.stderr.partition("reeldrop submit ")[2])
        assert ["--", prompt] == command
        # -c is given with its folder: what is after `--` is no option.
        taken = run([*REELDROP, "submit", "-c", str(site.folder), *command])
        assert (0, "") == (taken.returncode, taken.stderr)
        written = strict_yaml.load_all((site.inbox / f"{name}.yaml").read_text())
        assert {"prompt": prompt} == strict_yaml.plain(written[0])
    spaced = site.command("submit", "a ball", "--set=negative_prompt=a - b")
    assert (0, "") == (spaced.returncode, spaced.stderr)


def test_a_name_that_begins_with_a_dash_can_be_cancelled(site: Site) -> None:
    """With `./` before it, as with every command; the report has a command that works."""
    site.drop("-x:1.txt", "a horse\n")
    assert 0 == site.command("cancel", "./-x:1.txt").returncode
    report = (site.failed / "-x_1.txt.error.txt").read_text()
    retry = report.partition("In a shell, `reeldrop ")[2].partition("`")[0]
    assert 0 == site.command(*shlex.split(retry)).returncode
    assert not (site.failed / "-x_1.txt").exists()


def test_while_config_yaml_is_broken_a_daemon_is_still_seen(site: Site) -> None:
    """Beside a daemon, commands print the mistake and answer; without one they refuse."""
    site.drop("a.txt", "a horse\n")
    site.configure("max_attempts: many")
    mistake = f"{site.folder / 'config.yaml'}, line 1"
    commands = (["status"], ["history"], ["history", "--failed"], ["submit", "b", "--set", "odd=1"])
    for command in (*commands, ["cancel", "b"], ["retry", "b"]):
        blind = site.command(*command)
        assert (78, "", True) == (blind.returncode, blind.stdout, mistake in blind.stderr)
    settings = Spool(site.spool, site.inbox, site.failed)
    with settings.lock.held():
        for command in (*commands, ["cancel", "b"], ["retry", "b"]):
            seeing = site.command(*command)
            assert 0 == seeing.returncode, seeing.stderr
            assert mistake in seeing.stderr, command
            assert "the daemon still uses the settings that it read before" in seeing.stderr
        assert "a.txt" in site.command("status").stdout
        assert {"a.txt", "b.yaml"} == {file.name for file in site.inbox.iterdir()}
        for command in (["run"], ["check"], ["tune"], ["reload"]):
            assert 78 == site.command(*command).returncode, command


def test_a_folder_stands_for_the_config_in_it(site: Site) -> None:
    """As an option and in the environment."""
    site.drop("a.txt", "a horse\n")
    given = run([*REELDROP, "status", "-c", str(site.folder)])
    environment = {**os.environ, config.ENVIRONMENT: str(site.folder)}
    named = run([*REELDROP, "status"], env=environment)
    assert given.stdout == named.stdout
    assert "a.txt\t" in given.stdout
    missing = run([*REELDROP, "status", "-c", str(site.inbox)])
    assert (78, True) == (missing.returncode, str(site.inbox / "config.yaml") in missing.stderr)


def test_a_shell_completes_names(site: Site) -> None:
    """The names that `cancel` and `retry` take; none if config.yaml can't be read."""
    site.drop("horse.txt", "a horse\n")
    site.drop("house.txt", "a house\n")
    for words, expected in (
        (f"cancel -c {site.folder} ho", ["horse.txt", "house.txt"]),
        (f"cancel -c {site.folder} hor", ["horse.txt"]),
        (f"retry -c {site.folder} ho", []),
        ("cancel -c /nowhere ho", []),
        ("stat", ["status"]),
    ):
        line = f"reeldrop {words}"
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        environment = {"_REELDROP_COMPLETE": "complete_bash", **asked}
        done = CliRunner().invoke(cli.app, [], prog_name="reeldrop", env=environment)
        assert (expected, 0) == (done.stdout.split(), done.exit_code), words
    site.command("cancel", "horse.txt")
    line = f"reeldrop retry -c {site.folder} ho"
    asked = {"COMP_WORDS": line, "COMP_CWORD": "4", "_REELDROP_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(cli.app, [], prog_name="reeldrop", env=asked)
    assert ["horse.txt"] == done.stdout.split()
