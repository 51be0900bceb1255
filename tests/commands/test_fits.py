"""What models need by their profiles or their files, and what helps if that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from reeldrop.commands import fits
from reeldrop.commands.fits import Machine
from reeldrop.config import builtin, config, profiles
from reeldrop.config.config import Config
from reeldrop.config.profile_keys import About
from reeldrop.render import pipeline, placements, weights

GB = 10**9


def settings(text: str) -> Config:
    """Return the settings of a config.yaml's text."""
    return config.parse(text, Path("/site/config.yaml"))


def machine(gpu: float | None, host: float = 64) -> Machine:
    """Return a machine with this memory, in GB."""
    return Machine(None if gpu is None else int(gpu * GB), int(host * GB))


def fit(text: str, gpu: float | None, host: float = 64) -> tuple[str, str]:
    """Return how Wan 2.1 14B with these keys fits, and what it needs."""
    found = settings(f"models: {{wan2.1-14b: {{{text}}}}}")
    source = profiles.untuned("wan2.1-14b", found)
    return fits.fit(source, found.models["wan2.1-14b"].about, machine(gpu, host))


def test_what_fits() -> None:
    """On the GPU, part by part, on the CPU, or not at all; by the little that a profile tells."""
    about = About(weights_gb=20, offloaded_gb=14)
    source = profiles.untuned("mine", settings("models: {mine: {repository: some/mine}}"))
    cases = (
        (about, 30, 64, fits.WHOLE, "30 GB on the GPU"),
        (about, 24, 64, fits.PART_BY_PART, "14 GB on the GPU and 24 GB of memory"),
        (about, 24, 16, fits.TOO_LARGE, "14 GB on the GPU and 24 GB of memory"),
        (about, 12, 64, fits.TOO_LARGE, "14 GB on the GPU"),
        (about, None, 64, fits.ON_THE_CPU, "48 GB of memory without a GPU"),
        (about, None, 32, fits.TOO_LARGE, "48 GB of memory without a GPU"),
        (About(weights_gb=20), 24, 64, fits.PART_BY_PART, "20 GB on the GPU and 24 GB of memory"),
        (About(), 80, 64, fits.UNKNOWN, ""),
    )
    for known, gpu, host, expected, words in cases:
        found, needs = fits.fit(source, known, machine(gpu, host))
        assert (expected, True) == (found, words in needs), (gpu, host)


@pytest.mark.parametrize("quantization", ["int8", "float8"])
def test_quantized_weights_take_half(quantization: str) -> None:
    """Those of the denoiser: 14.3 GB of 28.6. The text encoder stays as it is, also on a CPU."""
    assert (fits.TOO_LARGE, "needs 35 GB on the GPU and 48.6 GB of memory") == fit("", 24)
    key = f"quantization: {quantization}"
    expected = (fits.PART_BY_PART, "needs 20.7 GB on the GPU and 31.4 GB of memory")
    assert expected == fit(key, 24)
    assert (fits.WHOLE, "needs 39.3 GB on the GPU") == fit(key, 40)
    assert (fits.TOO_LARGE, "needs 97.2 GB of memory without a GPU") == fit("", None)
    assert (fits.ON_THE_CPU, "needs 45.7 GB of memory without a GPU") == fit(key, None)


def test_float32_takes_twice_as_much() -> None:
    """Of all, or of a part; and on a CPU, where auto is float32, bfloat16 takes half."""
    assert (fits.WHOLE, "needs 60.8 GB on the GPU") == fit("", 80)
    expected = "needs 70 GB on the GPU and 97.2 GB of memory"
    assert (fits.PART_BY_PART, expected) == fit("dtype: float32", 80, 128)
    assert (fits.TOO_LARGE, expected) == fit("dtype: float32", 80, 64)
    expected = "needs 70 GB on the GPU and 82.9 GB of memory"
    assert expected == fit("dtype: {transformer: float32}", 24)[1]
    assert (
        "needs 35 GB on the GPU and 62.3 GB of memory"
        == fit("dtype: {text_encoder: float32}", 24)[1]
    )
    assert (fits.ON_THE_CPU, "needs 48.6 GB of memory without a GPU") == fit(
        "dtype: bfloat16", None
    )
    assert fit("", 24) == fit("dtype: {default: float16}", 24)


def test_where_the_weights_are_is_the_profiles_choice() -> None:
    """What is placed as a whole is not moved part by part, and a CPU has no use for a GPU."""
    assert (fits.TOO_LARGE, "needs 46.9 GB on the GPU") == fit("placement: cuda", 40)
    assert (fits.WHOLE, "needs 46.9 GB on the GPU") == fit("placement: cuda", 48)
    words = "needs 35 GB on the GPU and 48.6 GB of memory"
    assert (fits.PART_BY_PART, words) == fit("placement: model_offload", 80)
    layers = "placement: sequential_offload"
    assert (fits.LAYER_BY_LAYER, "needs 48.6 GB of memory") == fit(layers, 12)
    assert fits.TOO_LARGE == fit(layers, 80, 32)[0]
    assert (fits.TOO_LARGE, "needs 97.2 GB of memory without a GPU") == fit("placement: cpu", 80)


def test_files_that_are_here_tell_it_exactly(wan_pipeline: Path) -> None:
    """Also of a profile that tells nothing; each part counts with its own dtype."""
    text = f"models: {{wan: {{path: {wan_pipeline}}}}}"
    source = profiles.untuned("wan", settings(text))
    size = placements.weight_bytes(pipeline.load(source).pipe)
    found = fits.needs(source, About(), cuda=False)
    assert found is not None
    assert (size, size) == (found.weights, weights.size(source))
    assert found == fits.needs(source, About(weights_gb=1000), cuda=False)
    on_gpu = fits.needs(source, About(), cuda=True)
    assert on_gpu is not None
    assert size / 2 < on_gpu.weights < size  # the VAE of Wan is in float32 there, too
    quantized = dataclasses.replace(source, quantization="int8")
    less = fits.needs(quantized, About(), cuda=True)
    assert less is not None
    parts = weights.by_part(source, cuda=True)
    assert parts is not None
    assert parts["transformer"] / 2 == on_gpu.weights - less.weights
    assert fits.WHOLE == fits.fit(source, About(), machine(1))[0]
    assert fits.TOO_LARGE == fits.fit(source, About(), Machine(1000, GB))[0]


def test_what_helps() -> None:
    """The machine's memory is told beside what the model needs, and each way that would do."""
    found = settings("models: {wan2.1-14b: {}, wan2.1-14b-4step: {}}")
    text = fits.lack("wan2.1-14b", found, machine(24))
    assert (
        "wan2.1-14b may not fit: it needs 35 GB on the GPU and 48.6 GB of memory, and this machine "
        "has 24 GB on the GPU and 64 GB of memory; with `quantization: int8`, it needs 20.7 GB on "
        "the GPU and 31.4 GB of memory; else it is tried layer by layer, which is slow "
        "(`placement: sequential_offload` begins with that); `reeldrop models` lists what fits"
    ) == text
    assert "" == fits.lack("wan2.1-14b", found, machine(40))
    merged = fits.lack("wan2.1-14b-4step", found, machine(24))
    assert "quantization" not in merged  # its LoRA could not become part of quantized weights
    assert "layer by layer" in merged
    small = fits.lack("wan2.1-14b", found, machine(12, 16))
    assert small.endswith(
        "has 12 GB on the GPU and 16 GB of memory; `reeldrop models` lists what fits"
    )
    cpu = fits.lack("wan2.1-14b", found, machine(None))
    assert "it needs 97.2 GB of memory without a GPU, and this machine has 64 GB of memory" in cpu
    assert "with `quantization: int8`, it needs 45.7 GB" in cpu
    assert "layer by layer" not in cpu


@pytest.mark.parametrize("placement", ["cuda", "model_offload", "sequential_offload"])
def test_a_gpu_that_is_not_there_is_told(placement: str) -> None:
    """However much memory there is."""
    found = settings(f"models: {{ltx-video: {{placement: {placement}}}}}")
    needed = f"ltx-video may not fit: it needs a GPU for `placement: {placement}`, and this machine"
    ways = "has none; with `placement: auto`, it needs 34.1 GB of memory without a GPU"
    assert f"{needed} {ways}; `reeldrop models` lists what fits" == fits.lack(
        "ltx-video", found, machine(None)
    )


@pytest.mark.parametrize(
    ("keys", "way"),
    [
        ("placement: cuda", "with `placement: auto`, it needs 35 GB on the GPU"),
        ("dtype: float32", "with `dtype` left out, it needs 35 GB on the GPU"),
        ("placement: cpu", "with `placement: auto`, it needs 35 GB on the GPU"),
    ],
)
def test_a_key_that_takes_too_much_is_named(keys: str, way: str) -> None:
    """The same profile without it would fit."""
    found = settings(f"models: {{wan2.1-14b: {{{keys}}}}}")
    assert way in fits.lack("wan2.1-14b", found, machine(40))
    together = "and `quantization: int8`, it needs 20.7 GB on the GPU"
    assert together in fits.lack("wan2.1-14b", found, machine(24, 40))


def test_the_sizes_of_the_profiles_agree() -> None:
    """The parts are within the weights, and the GPU memory that suffices holds the denoiser."""
    for name in builtin.profiles():
        profile = builtin.profile(name)
        about, parts = profile.about, profile.about.parts_gb
        assert about.weights_gb is not None
        assert about.offloaded_gb is not None
        if name == "bundled":  # its files are always here
            continue
        denoisers = [size for part, size in parts.items() if part in weights.denoisers.NAMES]
        assert 0.75 * about.weights_gb <= sum(parts.values()) <= about.weights_gb + 0.05, name
        assert 0 < max(denoisers) < about.offloaded_gb, name
        assert "float32" not in {profile.native_dtype.get(part) for part in parts}, name
        if about.download_gb is not None:
            assert about.download_gb >= about.weights_gb - 0.05, name
