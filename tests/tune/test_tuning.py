"""Tuning: the fastest ways are found, kept in a file, and used where they are valid."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.site import Site, make_site
from reeldrop.base.fleet import BatchLimit
from reeldrop.config import config, profiles
from reeldrop.render import devices, pipeline
from reeldrop.render.source import LoraSource, ModelSource
from reeldrop.speed import compiled, fast
from reeldrop.speed.lossy import Lossy
from reeldrop.store.spool import Spool
from reeldrop.tune import tuned, tuning
from reeldrop.tune.tuned import Finding
from reeldrop.tune.tuning import Tuner
from structlog.testing import capture_logs
from torch._dynamo.utils import counters
from torch._inductor import cpp_builder

WAYS = [name for name, _ in fast.worth_a_try("cpu") if name != "compile"]
"""What the tiny pipeline is tuned with: the compiler would take more than a minute each time."""

HERE = devices.name()
NOT_COMPILED = "speed: {compile: off}"
WAN = """\
model: wan
models:
  wan:
    path: {folder}
    speed: {speed}
    max_batch_size: 1
    defaults: {{num_inference_steps: {steps}, num_frames: {frames}, height: 32, width: 32}}
"""


@pytest.mark.parametrize(
    ("seconds", "near", "why"),
    [
        (0.5, math.inf, ""),
        (0.5, 40.0, ""),
        (0.5, 39.9, "its frames differ too much (less than 40 dB)"),
        (0.79, 60.0, tuning.NOT_FASTER),
        (0.9, 60.0, tuning.NOT_FASTER),
        (5.0, 10.0, "its frames differ too much (less than 40 dB)"),
    ],
)
def test_what_is_faster_and_shows_the_same_is_taken(seconds: float, near: float, why: str) -> None:
    """Faster than the best way so far, not only than the plain pipeline."""
    trial = tuning.judged("a way", seconds, near, plain=1.0, best=0.8)
    assert (why == "", why, 1 / seconds) == (trial.taken, trial.why, trial.gain)
    assert (None if math.isinf(near) else near) == trial.psnr_db


@pytest.fixture
def site(tmp_path: Path, least_pipeline: Path) -> Site:
    """An empty inbox, and a config.yaml with the least pipeline: tuning renders many times."""
    return make_site(tmp_path / "site", least_pipeline)


def change_profile(site: Site, *lines: str) -> None:
    """Set keys of the tiny pipeline's profile, which then has no batch size of its own."""
    path = site.folder / "config.yaml"
    path.write_text(path.read_text().replace("max_batch_size: 2", "\n    ".join(lines)))


@pytest.fixture
def tuner(site: Site) -> Tuner:
    """A tuner for the tiny pipeline that times everything once."""
    change_profile(site, NOT_COMPILED)
    return tuner_of("tiny", site.folder / "config.yaml")


def tuner_of(name: str, file: Path) -> Tuner:
    """Return a tuner for a profile that times everything once."""
    found = config.load(file)
    return Tuner(*profiles.to_tune(profiles.untuned(name, found), found.allowed(name)), 1)


def test_each_way_is_tried(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain pipeline first, then each way, then batches while they pay, all without loading it
    again. Ways that the profile switches off are not tried."""
    monkeypatch.setattr(pipeline, "load", None)
    trials = list(tuner.trials())
    names = [name.replace("_", " ") for name in WAYS]
    assert ["plain", *names, "2 at once"] == [trial.what for trial in trials][: len(names) + 2]
    measured = [trial for trial in trials if trial.seconds is not None]
    assert all(trial.psnr_db is None or trial.psnr_db > 40 for trial in measured)
    taken = {trial.what.replace(" ", "_") for trial in trials if trial.taken}
    assert taken & {*WAYS} == {name for name in WAYS if tuner.speed[name]}
    assert {"exact", "mixed_precision"} == tuner.speed.keys()


COMPILER = """\
#!/bin/sh
test $PPID = {ours} && exec {real} "$@"
ln -s $PPID $0.first 2>/dev/null
test $PPID = $(readlink $0.first) && exec {real} "$@"
kill -9 $PPID
"""
"""A compiler that works for the first process beside ours, and kills others."""


@pytest.mark.filterwarnings("default")  # the compiler has some
def test_both_ways_to_compile_are_tried(
    site: Site, wan_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real compiler, each in a process of its own first.

    This one finds the results of the first in the cache; the trial reports the compiler's time. The
    second crashes, which ends nothing else.
    """
    counters.clear()
    compiler = tmp_path / "g++"
    compiler.write_text(COMPILER.format(ours=os.getpid(), real=shutil.which("g++")))
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(compiled.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "BATCH_SIZES", ())  # each of them is compiled, too
    # A length that no other test has: what is compiled for one is compiled once in a process.
    write_config_of_wan(site, wan_pipeline, frames=13, steps=2)
    config_file = site.folder / "config.yaml"
    tuner = tuner_of("wan", config_file)
    trials = {trial.what: trial for trial in tuner.trials()}
    whole, blocks = trials["compile whole"], trials["compile blocks"]
    assert whole.seconds is not None, whole.why
    assert (whole.psnr_db or math.inf) > 40
    assert whole.compiler_seconds > 0
    assert f", compiled in {whole.compiler_seconds:.0f} s" in whole.verdict
    assert {"autograd_cache_hit": 1} == {
        k: v for k, v in counters["aot_autograd"].items() if "cache" in k
    }
    assert (False, None) == (blocks.taken, blocks.seconds)
    assert blocks.verdict.startswith("it fails: A process in the process pool was terminated")
    assert {"compile": "whole" if whole.taken else "off"} == tuner.speed


def write_config_of_wan(site: Site, folder: Path, frames: int, steps: int, **switches: str) -> None:
    """Write a config with a pipeline that compiles in seconds; other ways are not tried.

    Not even those that `tune` does not try on a CPU without bfloat16.
    """
    others = {name: value for name, value in fast.PLAIN.items() if name != "compile"}
    speed = json.dumps({**others, **switches})
    (site.folder / "config.yaml").write_text(
        WAN.format(folder=folder, speed=speed, frames=frames, steps=steps)
    )


@pytest.mark.filterwarnings("default")  # the compiler has some
def test_what_can_not_be_compiled_is_told_from_what_is_not_faster(
    site: Site, wan_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the C++ compiler is missing, which can be installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(compiled.CACHE, str(tmp_path / "cache"))
    cpp_builder.cpp_compiler_search.cache_clear()  # of another test
    write_config_of_wan(site, wan_pipeline, frames=1, steps=1, compile="blocks")
    tuner = tuner_of("wan", site.folder / "config.yaml")
    with capture_logs() as events:
        (trial,) = [one for one in tuner.trials() if one.what == "compile blocks"]
    assert (False, None) == (trial.taken, trial.seconds)
    assert "the model could not be compiled, as the log says" == trial.verdict
    [said] = [event for event in events if event["event"] == "not_compiled"]
    assert "InvalidCxxCompiler" in said["reason"]
    assert {} == tuner.speed


def test_what_shows_something_else_is_not_taken(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast it is; here, a test exchanges the prompt."""
    monkeypatch.setattr(tuning, "BATCH_SIZES", (2,))
    trials = tuner.trials()
    next(trials)
    tuner.sample = dataclasses.replace(tuner.sample, prompt="something else altogether")
    measured = [trial for trial in trials if trial.seconds is not None]
    assert measured
    assert {"its frames differ too much (less than 40 dB)"} == {trial.why for trial in measured}
    assert (1, {False}) == (tuner.batch_size, set(tuner.speed.values()))


def test_what_fails_is_not_taken(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other ways are tried; here, convolutions fail with channels last."""
    convolve = torch.nn.Conv2d.forward

    def failing(conv: torch.nn.Conv2d, input: torch.Tensor) -> torch.Tensor:
        if conv.weight.stride()[1] == 1 < conv.weight.stride()[2]:
            raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")
        return convolve(conv, input)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", failing)
    monkeypatch.setattr(tuning, "BATCH_SIZES", (2,))
    trials = {trial.what: trial for trial in tuner.trials()}
    failed = trials["exact"]
    assert (False, None) == (failed.taken, failed.seconds)
    assert "it fails: CUDNN_STATUS_NOT_SUPPORTED" == failed.verdict
    assert "2 at once" in trials
    assert not tuner.speed["exact"]


# The file


@pytest.fixture
def found(site: Site) -> Finding:
    """A finding for the tiny pipeline, in the spool."""
    settings = config.load(site.folder / "config.yaml")
    site.spool.mkdir()
    speed: dict[str, bool | str] = {"exact": False, "compile": "blocks"}
    basis = profiles.basis(profiles.untuned("tiny", settings), HERE)
    finding = Finding(basis, speed, 4)
    tuned.note(site.spool, "tiny", HERE, finding)
    return finding


def test_what_was_found_is_used(site: Site, found: Finding) -> None:
    """The switches that the profile leaves on auto, and the batch size if it has none."""
    change_profile(site, "speed: {exact: true, mixed_precision: auto}")
    settings = config.load(site.folder / "config.yaml")
    expected = {**found.speed, "exact": True}
    assert expected == profiles.source("tiny", settings).speed_on(HERE)
    expected_limit = BatchLimit(4, is_measured=True, in_few_sizes=True)
    assert expected_limit == profiles.batch_limit("tiny", settings)
    options = pipeline.load(profiles.source("tiny", settings)).fast_path.options
    assert (True, "blocks") == (options.exact, options.compile)


def test_what_the_profile_says_holds(site: Site, found: Finding) -> None:
    """A batch size in the profile overrides the finding."""
    settings = config.load(site.folder / "config.yaml")
    limit = BatchLimit(2, in_few_sizes=True)  # as the finding compiles
    assert (4, limit) == (found.max_batch_size, profiles.batch_limit("tiny", settings))


def test_what_was_found_of_something_else_is_not_used(
    site: Site, found: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding for another card or other versions is not used."""
    settings = config.load(site.folder / "config.yaml")
    assert found.speed == profiles.source("tiny", settings).speed_on(HERE)
    assert {} == profiles.source("tiny", settings).speed_on("another GPU")
    monkeypatch.setattr(pipeline, "versions", lambda: (("torch", "1.0"),))
    assert {} == profiles.source("tiny", settings).tuned


def test_each_card_has_its_own_finding(site: Site, found: Finding) -> None:
    """Each renderer of a cluster uses the one for its card; one alone may lack one."""
    settings = config.load(site.folder / "config.yaml")
    basis = profiles.basis(profiles.untuned("tiny", settings), "a card")
    other = Finding(basis, {"exact": True}, 8)
    tuned.note(site.spool, "tiny", "a card", other)
    source = profiles.source("tiny", settings)
    assert {HERE: found.speed, "a card": other.speed} == source.tuned
    change_profile(site)
    settings = config.load(site.folder / "config.yaml")
    for device, most in ((HERE, 4), ("", 4), ("a card", 8), ("another", 16)):
        limit = profiles.batch_limit("tiny", settings, device=device, cuda=True)
        assert (most, True) == (limit.most, limit.is_measured)


def test_all_that_a_profile_says_of_its_pipeline_matters(site: Site) -> None:
    """With another value of it, what was found does not apply."""
    others: dict[str, Any] = {
        "location": "elsewhere",
        "revision": "0123abc",
        "variant": "fp32",
        "pipeline": "WanImageToVideoPipeline",
        "dtype": "bfloat16",
        "part_dtypes": {"vae": "float32"},
        "native_dtype": {"default": "bfloat16"},
        "scheduler": "DDIMScheduler",
        "scheduler_settings": {"timestep_spacing": "trailing", "thresholding": True, "lambda": 0.5},
        "flow_shift": 5.0,
        "guider": {"guidance_scale": 6.0, "start": 0},
        "fixed": {"sigmas": (1.0, 0.5)},
        "tiling": True,
        "quantization": "int8",
        "placement": "model_offload",
        "lossy": Lossy(deep_cache=2),
        "loras": (LoraSource("style", "somewhere", weight=0.5, is_always_used=True),),
        "reads_chunks": True,
        "reads_weights": True,
        "window": 8,
        "overlap": 2,
        "gpus": 2,
    }
    known = {field.name for field in dataclasses.fields(ModelSource)}
    assert known - {"name", "speed", "tuned", "preview_steps", "pins"} == {*others}
    plain = profiles.untuned("tiny", config.load(site.folder / "config.yaml"))
    shown = dataclasses.replace(plain, preview_steps=5)
    assert profiles.basis(plain, HERE) == profiles.basis(shown, HERE)
    changed = {
        name: profiles.basis(dataclasses.replace(plain, **{name: value}), HERE)
        for name, value in others.items()
    }
    assert len(others) + 1 == len({profiles.basis(plain, HERE), *changed.values()}), changed


@pytest.mark.parametrize(
    "text", ["", "{", '{"tiny": {"cpu": {}}}', '{"tiny": {"basis": "", "speed": {}}}', "[]"]
)
@pytest.mark.usefixtures("found")
def test_a_file_that_cannot_be_read_is_no_finding(text: str, site: Site) -> None:
    """The defaults are used, and the next `reeldrop tune` replaces the file."""
    (site.spool / tuned.FILE_NAME).write_text(text)
    assert not any(tuned.read(site.spool).values())
    assert {} == profiles.source("tiny", config.load(site.folder / "config.yaml")).tuned


def test_findings_of_another_version_are_told_as_such(
    site: Site, found: Finding, capsys: pytest.CaptureFixture[str]
) -> None:
    """That a profile was tuned is known; those of other profiles are used."""
    older = {"basis": {"device": HERE}, "speed": {"text_once": True}, "max_batch_size": 4}
    file = site.spool / tuned.FILE_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), "bundled": older}))
    settings = config.load(site.folder / "config.yaml")
    profiles.warn_of_findings(settings, HERE)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "tuned_for" in line)
    assert "bundled" in line
    assert found.speed == profiles.source("tiny", settings).speed_on(HERE)
    tuned.note(site.spool, "bundled", HERE, found)
    assert {"tiny": {HERE: found}, "bundled": {HERE: found}} == tuned.read(site.spool)


@pytest.mark.parametrize(
    "change",
    [
        {"speed": {"no_such_way": True}},
        {"speed": {"exact": "often"}},
        {"speed": {"compile": True}},
        {"speed": {"text_once": True}},  # of an earlier version
        {"max_batch_size": 0},
        {"max_batch_size": -1},
        {"max_batch_size": 10**18},
    ],
)
def test_a_finding_that_is_impossible_is_not_used(
    change: dict[str, Any], site: Site, found: Finding
) -> None:
    """The file may be damaged, or of another version."""
    tuned.note(site.spool, "tiny", HERE, dataclasses.replace(found, **change))
    settings = config.load(site.folder / "config.yaml")
    assert {} == profiles.sources(settings)["tiny"].tuned
    assert BatchLimit(2) == profiles.batch_limit("tiny", settings)


@pytest.mark.usefixtures("found")
def test_findings_that_are_no_file_are_none(site: Site, found: Finding) -> None:
    """A pipe does not block, and the next finding replaces it."""
    (site.spool / tuned.FILE_NAME).unlink()
    os.mkfifo(site.spool / tuned.FILE_NAME)
    assert {} == tuned.read(site.spool)
    tuned.note(site.spool, "tiny", HERE, found)
    assert {"tiny": {HERE: found}} == tuned.read(site.spool)


def test_findings_of_other_profiles_stay(site: Site, found: Finding) -> None:
    """Each profile has its own findings."""
    tuned.note(site.spool, "other", HERE, found)
    assert {"tiny": {HERE: found}, "other": {HERE: found}} == tuned.read(site.spool)


# The command


def test_the_command_tunes_and_the_daemon_uses_it(site: Site) -> None:
    """From its next start on, as sidecars and log show."""
    change_profile(site, NOT_COMPILED)
    done = site.command("tune", "--rounds", "1", "--json")
    assert 0 == done.returncode, done.stderr
    answer = json.loads(done.stdout)
    assert ("tiny", str(site.spool / tuned.FILE_NAME)) == (answer["model"], answer["file"])
    noted = re.findall(r"^(.+): (\d+)/(\d+), \d+ s: ", done.stderr, re.M)
    [(device, most)] = {(device, int(most)) for device, _, most in noted}
    numbered = [int(number) for _, number, _ in noted]
    assert [*range(1, len(answer["trials"]) + 1)] == numbered
    assert numbered[-1] <= most <= len(WAYS) + 6
    assert "rounds of each trial: 1\n" in done.stderr
    assert re.search(rf"^{device}: 1/{most}, \d+ s: plain: ", done.stderr, re.M)
    assert {device} == {trial["device"] for trial in answer["trials"]}
    finding = tuned.read(site.spool)["tiny"][device]
    assert {"exact", "mixed_precision"} == finding.speed.keys()  # the profile decides the other
    site.drop("a.txt", "a horse\n")
    drained = site.drain()
    assert 0 == drained.returncode
    events = [json.loads(line) for line in drained.stdout.splitlines()]
    (path,) = [event for event in events if event["event"] == "fast_path"]
    assert [name for name, is_on in finding.speed.items() if is_on] == path["taken"]


def test_no_daemon_is_at_work_meanwhile(site: Site) -> None:
    """Both would be slow, and the measurement wrong."""
    site.spool.mkdir()
    spool = Spool(site.spool, site.inbox, site.failed)
    with spool.lock.held():
        done = site.command("tune")
    assert 75 == done.returncode
    assert "works on" in done.stderr


def test_a_profile_that_is_none(site: Site) -> None:
    """An unknown profile is reported, and nothing is loaded."""
    done = site.command("tune", "--model", "tiy")
    assert 2 == done.returncode
    assert "there is no profile 'tiy'" in done.stderr
