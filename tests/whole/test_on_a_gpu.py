"""The measurements for a GPU, tried on the CPU with a tiny pipeline: each yields its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gpu_phases
import on_a_gpu
import order
import pytest
from gpu_phases import Figure, Trial

SMALL = {"num_inference_steps": 2, "num_frames": 4, "height": 32, "width": 32}


@pytest.fixture(scope="module")
def trial(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A trial with a pipeline that renders in a fraction of a second."""
    asked = order.of_folder(tiny_pipeline, 16, **SMALL)
    return Trial(tmp_path_factory.mktemp("trial"), asked)


def keys(figures: list[Figure]) -> list[set[str]]:
    """Return what each figure says."""
    return [set(figure) for figure in figures]


def test_renders_are_compared_with_the_script(trial: Trial) -> None:
    """Script and renderer show the same in each batch size; another seed shows something else."""
    scripts = list(gpu_phases.script(trial))
    assert [False, True] == [figure["offloads"] for figure in scripts]
    assert all(len(figure["seconds"]) == 4 for figure in scripts)
    made = list(gpu_phases.frames(trial))
    ways = [(figure["way"], figure["batch"]) for figure in made]
    assert [("plain", 1), *(("fast", size) for size in gpu_phases.BATCH_SIZES)] == ways
    assert all(figure["psnr_db"] > 40 < figure["peak_mib"] for figure in made)

    others = replace(trial, asked=replace(trial.asked, first_seed=1))
    assert next(gpu_phases.frames(others))["psnr_db"] < 30


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (gpu_phases.model, [{"model_gb"}]),
        (gpu_phases.peak, [{"peak_tflops"}, {"video_tflop"}]),
        (gpu_phases.kernels, 2 * [{"way", "total_ms", "kernels"}]),
        (gpu_phases.long, 2 * [{"who", "seconds", "peak_mib"}]),
    ],
)
def test_a_phase_yields_its_figures(
    trial: Trial, phase: gpu_phases.Phase, expected: list[set[str]]
) -> None:
    """None of them is zero or empty."""
    figures = list(phase(trial))
    assert expected == keys(figures)
    assert all(value for figure in figures for value in figure.values())


def test_a_phase_costs_only_its_own_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One that lasts too long is ended; what there is no time for is left out. Both are said."""
    assert ["model", "peak"] == on_a_gpu.run(tmp_path, ["model", "peak"], seconds=0.1)
    lines = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert ["ended after 0 s: ", "left out: the time is over"] == [x["error"] for x in lines]
    assert capfd.readouterr().out.splitlines() == [json.dumps(line) for line in lines]
