"""The comparisons of speed, each at its smallest size: that they run, and really compare.

Timings are not asserted: what is fast enough is for the benchmarks themselves to say.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import compiling
import device
import full_size_model
import intake
import latency
import long_video
import model_quality
import numpy as np
import on_a_gpu
import order
import pytest
import resident
import script_loop
import seams
import throughput
import time_left
import torch
import translation
from diffusers import UNet3DConditionModel
from harness import watched_daemon
from harness.fakes import tiny_unet
from harness.processes import run, start
from order import Order
from reeldrop.base.windows import Windows
from reeldrop.speed import compiled
from resident import Run

SMALL = {"num_inference_steps": 2, "num_frames": 4, "height": 32, "width": 32}


@pytest.fixture(scope="module", autouse=True)
def _quick_start() -> Iterator[None]:
    """Start processes as forks: their start is not measured here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watched_daemon, "launch", start)
        patch.setattr(resident, "launch", run)
        yield


@pytest.fixture(scope="module")
def asked(tiny_pipeline: Path) -> Order:
    """Two videos of a pipeline that renders in a fraction of a second."""
    made = order.of_folder(tiny_pipeline, 2, **SMALL)
    made.profile["limits"] = {"num_frames": 32, "height": 32, "width": 32}
    return made


def test_an_order_is_the_same_for_both_sides(asked: Order, tmp_path: Path) -> None:
    """Another process reads back the order that one has written."""
    assert asked == Order.read(asked.write(tmp_path / "order.json"))
    assert [0, 1] == [seed for _, seed in asked.prompts]
    assert {**SMALL, "guidance_scale": 9.0} == asked.settings


def test_the_script_is_a_command(asked: Order, tmp_path: Path) -> None:
    """It moves a video for each prompt into the results, and prints the time of each."""
    results = tmp_path / "results"
    results.mkdir()
    report = resident.script(tmp_path, asked, "--results", str(results), "--no-warm-up")
    names = [f"{prompt.replace(' ', '_')}_{seed}.mp4" for prompt, seed in asked.prompts]
    assert sorted(names) == sorted(path.name for path in results.iterdir())
    assert all(path.stat().st_size for path in results.iterdir())
    assert {"began", "published", "cpu_seconds", "peak_memory_mib"} == report.keys()
    assert report["began"] < report["published"][0] < report["published"][1]


@pytest.fixture(scope="module")
def compared(asked: Order) -> throughput.Comparison:
    """One round of the comparison of throughput."""
    return throughput.compare(asked, [], rounds=1, settle_seconds=0.1)


def test_throughput_compares_both_sides(compared: throughput.Comparison) -> None:
    """Each side has its row, and frames of equal seeds are alike."""
    report = json.loads(compared.json())
    assert {"script", "daemon"} == report["rows"].keys()
    for row in report["rows"].values():
        assert row["videos_per_minute"] > 0
        assert row["seconds_per_video"] > 0
        assert 0 < row["peak_share"] < 1
        assert row["idle_share"] < 1
        assert row["peak_memory_mib"] > 100
    assert {"script"} == report["speedups"].keys()
    assert report["psnr"] > throughput.MIN_PSNR
    assert "script" in compared.table()


def test_frames_of_other_seeds_are_told_apart(asked: Order) -> None:
    """The comparison of frames would detect a daemon that renders something else."""
    pipe = script_loop.load(asked)
    first, other = (
        (script_loop.render(pipe, *prompt, asked.settings) * 255).round().astype(np.uint8)
        for prompt in asked.prompts
    )
    assert resident.EQUAL_DB == resident.psnr(first, first)
    assert resident.psnr(first, other) < 30 < throughput.MIN_PSNR


def row(seconds: float, peak_share: float = 0.6, idle_share: float = 0.01) -> throughput.Row:
    """Return the result of a way that takes so many seconds for a video."""
    return throughput.Row(60 / seconds, seconds, peak_share, idle_share, 1000)


@pytest.mark.parametrize(
    ("daemon", "psnr", "expected"),
    [
        (row(1.0), 50.0, []),
        (row(1.5), 50.0, ["script, no offload"]),
        (row(4.0), 50.0, ["script", "script, no offload"]),
        (row(1.0, peak_share=0.4), 50.0, ["peak_share"]),
        (row(1.0, idle_share=0.03), 50.0, ["idle_share"]),
        (row(1.0), 30.0, ["psnr"]),
    ],
)
def test_throughput_knows_its_goals(
    daemon: throughput.Row, psnr: float, expected: list[str]
) -> None:
    """The fastest daemon must reach each goal, on a GPU against both baselines."""
    rows = {
        "script": row(6.0),
        "script, no offload": row(2.5),
        "daemon, batch 1": row(9.0, peak_share=0.1, idle_share=0.5),
        "daemon, batch 8": daemon,
    }
    assert expected == throughput.Comparison(rows, psnr, throughput.GOALS["cuda"]).misses()


def test_a_long_video_is_compared(asked: Order) -> None:
    """Both sides make it, and both times are measured."""
    found = long_video.compare(dataclasses.replace(asked, videos=1), rounds=1, settle_seconds=0.1)
    assert found.script is not None
    assert found.script.seconds > 0 < found.daemon.seconds
    assert found.script.peak_memory_mib > 100 < found.daemon.peak_memory_mib
    assert found.time_ratio == pytest.approx(found.daemon.seconds / found.script.seconds, 0.01)


def side(seconds: float, peak_memory_mib: int) -> long_video.Row:
    """Return the result of a side for a long video."""
    return long_video.Row(seconds, peak_memory_mib)


@pytest.mark.parametrize(
    ("daemon", "script", "expected"),
    [
        (side(5.0, 11_000), side(10.0, 30_000), []),
        (side(7.0, 11_000), side(10.0, 30_000), ["time_ratio"]),
        (side(5.0, 13_000), side(10.0, 30_000), ["peak_memory_mib"]),
        (side(5.0, 11_000), None, ["time_ratio"]),
    ],
)
def test_a_long_video_has_goals(
    daemon: long_video.Row, script: long_video.Row | None, expected: list[str]
) -> None:
    """If the script can't make the video, the daemon is not proved to be faster."""
    assert expected == long_video.Comparison(daemon, script).misses()


def test_a_script_without_memory_has_no_row() -> None:
    """The comparison continues without it; any other error ends it."""

    def starving(_folder: Path) -> Run:
        raise resident.ScriptOutOfMemory("the script has not enough memory")

    assert [] == long_video.unless_out_of_memory(starving)


def test_a_jump_at_a_seam_is_found() -> None:
    """The ratio is one if the video changes evenly, and more if it changes where a window does."""
    windows, even = Windows(8, 4), np.arange(16, dtype=np.uint8)
    assert [4, 8, 12] == seams.seams(windows, 16)
    for jump, ratio in ((0, 1.0), (3, 2.0)):
        frames = even + jump * (np.arange(16) >= 8)
        videos = [np.broadcast_to(frames[:, None, None, None], (16, 2, 2, 3)).astype(np.uint8)]
        assert pytest.approx(ratio) == seams.ratio(videos, windows)


def test_latency_compares_both_sides(asked: Order, tmp_path: Path) -> None:
    """The first step comes after the file has settled, and before the video."""
    one = dataclasses.replace(asked, videos=1)
    changes = {"settle_seconds": 0.3, "renamed_settle_seconds": 0.1}
    found = latency.compare(tmp_path, one, 1, 0.0, **changes)
    assert latency.DELIVERIES.keys() == found.first_step_ms.keys() == found.video_seconds.keys()
    for name, video in found.video_seconds.items():
        assert 0 < found.first_step_ms[name] / 1000 + found.settle_seconds[name] < video
    assert [0.1, 0.1, 0.3] == list(found.settle_seconds.values())
    assert found.script_seconds > 0
    assert found.speedup < found.speedup_without_settling


def test_latency_knows_its_goals() -> None:
    """The slower of the renames counts, and the time to settle."""
    steps = {"renamed into": 20.0, "renamed within": 120.0, "copied": 20.0}
    videos = {"renamed into": 3.0, "renamed within": 3.1, "copied": 5.0}
    settling = {"renamed into": 2.0, "renamed within": 2.0, "copied": 2.5}
    found = latency.Comparison(steps, videos, 9.3, settling)
    assert 3.0 == found.speedup
    assert 8.45 == found.speedup_without_settling
    assert ["first_step_ms", "speedup"] == found.misses()
    quick = dataclasses.replace(found, script_seconds=15.5)
    assert ["first_step_ms"] == quick.misses()
    steps.update({"renamed within": 99.9, "copied": 120.0})
    assert [] == quick.misses()


@pytest.mark.filterwarnings("default")  # the compiler has some
@pytest.mark.usefixtures("without_code")
def test_compiling_compares_whole_and_blocks(
    wan_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is compiled twice with one cache, except the plain way; all show the same."""
    monkeypatch.setenv(compiled.CACHE, "")  # and as it was, afterwards
    asked = order.of_folder(wan_pipeline, 1, **{**SMALL, "num_frames": 5})
    del asked.profile["variant"], asked.profile["scheduler"]
    caches = []

    def apart(call: Callable[..., float], asked: Order, how: str, cache: Path) -> float:
        caches.append(cache.name)
        return call(asked, how, cache)

    rows = compiling.compare(asked, compiling.FORMS, 1, tmp_path, apart)
    assert [form for form in compiling.FORMS for _ in range(2)] == caches
    for form, row in rows.items():
        is_compiled = form != compiling.EAGER
        assert is_compiled == (row.compiler_seconds > 0) == (row.cached_seconds > 0)
    assert all(row.psnr_db is None or row.psnr_db > 40 for row in rows.values())
    text, report = compiling.table(rows), json.loads(compiling.report(rows))
    assert rows.keys() == report["rows"].keys() == report["gains"].keys()
    assert 1.0 == report["gains"][compiling.EAGER]
    assert all(form in text for form in rows)


def test_the_intake_knows_when_all_files_are_known(tmp_path: Path, tiny_pipeline: Path) -> None:
    """It measures when a daemon has counted all files after its start."""
    known_seconds, share = intake.while_unsettled(tmp_path, tiny_pipeline, 50, window=0.1)
    assert known_seconds > 0
    assert share >= 0


def counted_flops(folder: Path) -> float:
    """Return the counted operations of one more step of the UNet in a folder."""
    unet = UNet3DConditionModel.from_pretrained(folder, subfolder="unet", variant="fp16")
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(torch.zeros(2, 4, 4, 16, 16), 1, torch.zeros(2, 24, 16))
    return float(counter.get_total_flops())


def test_the_work_of_a_render_grows_with_its_steps(asked: Order) -> None:
    """Each step adds one call of the UNet, for both halves of the guidance."""

    def tflop(steps: int) -> float:
        profile = {**asked.profile, "defaults": {**SMALL, "num_inference_steps": steps}}
        return device.render_tflop(dataclasses.replace(asked, profile=profile))

    assert tflop(3) - tflop(2) == pytest.approx(counted_flops(asked.folder) / 1e12)


def test_a_device_that_waits_is_idle() -> None:
    """Two threads that used three of four seconds were idle for a quarter of the time."""
    assert 0.25 == device.cpu_idle_share(3.0, 2.0, 2)


LOG = """\
2026/11/25 10:00:00.000, 0
2026/11/25 10:00:01.000, 100
2026/11/25 10:00:02.000, 50
2026/11/25 10:00:03.000, 0
"""


def test_a_gpu_is_idle_as_nvidia_smi_says() -> None:
    """Only its samples of the measured time count."""
    began = device.seconds_since_epoch("2026/11/25 10:00:00.500")
    assert 0.25 == device.gpu_idle_share(LOG, began, began + 2)


def test_the_true_shape_has_the_true_work() -> None:
    """The UNet has 1411 million parameters, and a step at 16 frames of 256x256 is 9.77 TFLOP."""
    with torch.device("meta"):
        unet, vae = full_size_model.unet().eval(), full_size_model.vae().eval()
        latents, text = torch.empty(2, 4, 16, 32, 32), torch.empty(2, 77, 1024)
        with torch.utils.flop_counter.FlopCounterMode(display=False) as step, torch.no_grad():
            unet(latents, torch.empty(()), text)
        with torch.utils.flop_counter.FlopCounterMode(display=False) as decoding, torch.no_grad():
            vae.decode(torch.empty(1, 4, 32, 32))
    assert 1411 == sum(p.numel() for p in unet.parameters()) // 10**6
    assert 9.77 == round(step.get_total_flops() / 1e12, 2)
    assert 0.62 == round(decoding.get_total_flops() / 1e12, 2)


def test_the_bundled_model_is_held_to_each_of_its_goals() -> None:
    """Each that is just reached is not missed; a little less, or a little slower, is."""
    filmed = dict(model_quality.GOALS)
    reached: dict[str, object] = {
        "filmed": filmed, "drawn": {"all": model_quality.JUDGE_GOAL}, "seeds": 10,
        "examples": {"a line": 8}, "seconds": model_quality.SECONDS_GOAL,
        "megabytes": model_quality.MEGABYTES_GOAL,
    }  # fmt: skip
    assert [] == model_quality.missed(reached)
    for name, goal in filmed.items():
        below = {**reached, "filmed": {**filmed, name: goal - 0.001}}
        assert [name] == model_quality.missed(below)
    worse = {"drawn": {"all": 0.98}, "examples": {"a line": 7}, "seconds": 1.01, "megabytes": 24.1}
    names = [model_quality.missed({**reached, key: value}) for key, value in worse.items()]
    assert [["judge"], ["a line"], ["seconds"], ["megabytes"]] == names


def test_no_convolution_is_left_at_zeros() -> None:
    """The last convolution of a temporal layer begins at zero, which makes all frames equal."""
    torch.manual_seed(0)
    unet = tiny_unet().eval()
    before = temporal_weights(unet)
    full_size_model.enliven(unet)
    assert 0 == max(before)
    assert min(temporal_weights(unet)) > 0


def temporal_weights(unet: UNet3DConditionModel) -> Sequence[float]:
    """Return the largest weight of each convolution that ends a temporal layer."""
    found = (w for name, w in unet.named_parameters() if name.endswith("conv4.3.weight"))
    return [weight.detach().abs().max().item() for weight in found]


@pytest.mark.parametrize(
    "module",
    [
        throughput,
        long_video,
        latency,
        compiling,
        script_loop,
        seams,
        model_quality,
        full_size_model,
        on_a_gpu,
        time_left,
        translation,
    ],
)
def test_a_benchmark_says_how_it_is_called(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each module's docstring begins with an example of its command."""
    text = str(module.__doc__)
    monkeypatch.setattr(sys, "argv", [module.__name__, "--help"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert 0 == end.value.code
    assert text.partition("\n")[0] in " ".join(capsys.readouterr().out.split())
    assert f"python benchmarks/{module.__name__}.py" in text
