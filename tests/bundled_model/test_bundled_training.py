"""The training of the bundled model: a short real step of each stage works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundled_model import autoencoder, captions, denoiser, text, training, world

WORKER = training.Worker(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def codec() -> autoencoder.Codec:
    """Return a codec that was fitted on few clips."""
    return autoencoder.fit_codec(seed=0, clips=40)


def test_the_built_encoder_is_the_codec(codec: autoencoder.Codec) -> None:
    """The AutoencoderKL's encoder computes the codec's linear map."""
    images = autoencoder.to_images(autoencoder.sample_frames(np.random.default_rng(1), 2, 2))
    model = autoencoder.build_autoencoder(codec)
    with torch.no_grad():
        latents = model.encode(images).latent_dist.mode()
    assert tuple(latents.shape) == (4, 32, 8, 8)
    assert (latents - codec.encode(images)).std() < 0.03


def test_a_codec_survives_the_disk(codec: autoencoder.Codec, tmp_path: Path) -> None:
    """It is loaded as it was saved."""
    codec.save(tmp_path / "codec.safetensors")
    images = torch.zeros(1, 3, 128, 128)
    loaded = autoencoder.Codec.load(tmp_path / "codec.safetensors")
    assert torch.equal(codec.encode(images), loaded.encode(images))


def test_decoder_steps_bring_the_picture_nearer(codec: autoencoder.Codec) -> None:
    """Some steps on one batch lower its loss."""
    torch.manual_seed(0)
    decoder = autoencoder.build_autoencoder(codec).decoder
    optimiser = training.Optimiser(decoder.parameters(), ema_decay=0.9, weight_decay=0.0)
    images, latents = autoencoder.decoder_batch(codec, np.random.default_rng(0), 2)
    losses = []
    for step in range(4):
        loss, _ = autoencoder.decoder_loss(decoder, images, latents)
        loss.backward()
        optimiser.step(WORKER, 2e-3, step)
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_text_steps_teach_the_codes(tmp_path: Path) -> None:
    """Some steps on one batch lower its loss."""
    torch.manual_seed(0)
    tokenizer, book = text.build_tokenizer(tmp_path), text.Codebook()
    encoder = text.build_text_encoder(tokenizer)
    optimiser = training.Optimiser(encoder.parameters(), ema_decay=0.9, weight_decay=0.0)
    rng = np.random.default_rng(0)
    examples = [captions.sample_example(rng) for _ in range(8)]
    tokens = text.tokenize(tokenizer, [example.text for example in examples])
    empty = torch.zeros(8, dtype=torch.bool)
    losses = []
    for step in range(4):
        loss, _ = text.text_loss(
            encoder, book, tokens, [example.spec for example in examples], empty
        )
        loss.backward()
        optimiser.step(WORKER, 2e-3, step)
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_tokenizer_knows_the_words_and_survives_the_rest(tmp_path: Path) -> None:
    """A word of a caption is one token; a Chinese line fits; no token is unknown."""
    tokenizer = text.build_tokenizer(tmp_path)
    assert len(tokenizer("a red balloon rising at night").input_ids) == 2 + 6
    assert (
        len(tokenizer("欲渡黄河冰塞川").input_ids) < text.MAX_TOKENS == tokenizer.model_max_length
    )


def test_the_codebook_reads_its_own_codes() -> None:
    """A code stands for one spec, and imitated states end with it."""
    book, specs = text.Codebook(), list(world.all_specs())[::100]
    assert specs == book.read(book.code(specs))
    states = book.states(specs, np.random.default_rng(0), empty_share=0.0)
    assert specs == book.read(states[:, -1])


def test_fast_temporal_layers_are_equal() -> None:
    """The training's replacement computes the same."""
    torch.manual_seed(0)
    model = denoiser.build_denoiser().eval()
    for module in model.modules():
        if isinstance(module, denoiser.TemporalConvLayer):
            torch.nn.init.normal_(module.conv4[-1].weight, std=0.05)
    inputs = torch.randn(1, 32, 3, 8, 8), torch.tensor([500]), torch.randn(1, 6, text.WIDTH)
    with torch.no_grad():
        plain = model(*inputs).sample
        denoiser.speed_up(model)
        fast = model(*inputs).sample
    assert torch.allclose(plain, fast, atol=1e-4)


def test_denoiser_steps_bring_the_clip_nearer(codec: autoencoder.Codec) -> None:
    """Some steps on one batch of short clips lower its loss; the head learns, too."""
    torch.manual_seed(0)
    trainee = denoiser.Trainee(denoiser.build_denoiser().eval())
    denoiser.speed_up(trainee.unet)
    optimiser = training.Optimiser(trainee.parameters(), ema_decay=0.9, weight_decay=0.0)
    rng = np.random.default_rng(0)
    batch = denoiser.draw_batch(codec, text.Codebook(), rng, frames=2, clips=2)
    timesteps, noise = torch.tensor([300, 900]), torch.randn(batch.latents.shape)
    losses = []
    for step in range(4):
        loss, parts = denoiser.denoising_loss(trainee, batch, timesteps, noise)
        loss.backward()
        optimiser.step(WORKER, 1e-3, step)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert {"error", "thing", "place"} == set(parts)


def test_single_frames_come_first_then_longer_clips() -> None:
    """Every step has about the same number of frames."""
    plans = [denoiser.plan_step(step, 1000, seed=3) for step in range(1000)]
    assert {1} == {plan.frames for plan in plans[:100]}
    assert {8, 16, 24, 32} == {plan.frames for plan in plans[600:]}
    assert all(48 <= plan.frames * plan.clips <= 64 for plan in plans)


def test_the_schedule_ends_in_pure_noise() -> None:
    """Zero terminal SNR: videos do not inherit the brightness of the noise."""
    alpha, sigma = denoiser.signal_and_noise()
    assert alpha[-1] < 1e-3 < 0.99 < alpha[0]
    assert pytest.approx(float(sigma[-1]), abs=1e-3) == 1.0


def test_a_stopped_stage_takes_up_where_it_was(tmp_path: Path) -> None:
    """A checkpoint has weights, averages and the optimiser's moments."""
    layer, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    optimiser = training.Optimiser(layer.parameters(), ema_decay=0.9, weight_decay=0.0)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step(WORKER, 0.1, 0)
    training.save_checkpoint(tmp_path / "x.checkpoint", 1, optimiser)
    resumed = training.Optimiser(other.parameters(), ema_decay=0.9, weight_decay=0.0)
    assert training.load_checkpoint(tmp_path / "x.checkpoint", resumed) == 1
    assert torch.equal(layer.weight, other.weight)
    assert training.load_checkpoint(tmp_path / "none.checkpoint", resumed) == 0
