"""The training of the bundled model: a short real step of each stage, and its clock."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled_model import (
    autoencoder,
    batches,
    budget,
    captions,
    denoiser,
    finish,
    muon,
    schedule,
    text,
    training,
    world,
)
from safetensors.torch import save_file

NO_EMPTY = functools.partial(text.Codebook().states, empty_share=0.0)
WORKER = training.Worker(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> text.CLIPTokenizer:
    """The tokenizer, from its file."""
    return text.build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def codec() -> autoencoder.Codec:
    """A codec that was fitted on few clips."""
    return autoencoder.fit_codec(seed=0, clips=25)


def save_untrained_encoder(folder: Path) -> None:
    """Save a tokenizer, and a text encoder that knows nothing."""
    encoder = text.build_text_encoder(text.build_tokenizer(folder)).state_dict()
    save_file({k: v.contiguous() for k, v in encoder.items()}, folder / "text_encoder.safetensors")


def test_chinese_characters_are_tokens(tokenizer: text.CLIPTokenizer) -> None:
    """A character is one token wherever it stands, a known word one, and nothing is lost."""
    tokens = tokenizer.tokenize("大鹏 a red balloon，大")
    assert ["大", "鹏", "a</w>", "red</w>", "balloon</w>", tokens[5], "大"] == tokens
    ids = tokenizer("zyxq 凰").input_ids  # neither is known: they become bytes
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert text.MAX_TOKENS == tokenizer.model_max_length
    for line in captions.EXAMPLES:
        assert len(tokenizer(line).input_ids) <= text.MAX_TOKENS


def test_the_codebook_reads_its_own_codes() -> None:
    """A code stands for one spec, and imitated states end with it."""
    book, specs = text.Codebook(), list(islice(world.all_specs(), 0, None, 500))
    assert specs == book.read(book.code(specs))
    assert specs == book.read(book.states(specs, np.random.default_rng(0), 0.0)[:, -1])


def test_the_built_encoder_is_the_codec(codec: autoencoder.Codec) -> None:
    """The AutoencoderKL's encoder computes the codec's linear map."""
    images = autoencoder.to_images(autoencoder.sample_frames(np.random.default_rng(1), 2, 1))
    model = autoencoder.build_autoencoder(codec)
    with torch.no_grad():
        latents = model.encode(images).latent_dist.mode()
    assert (2, autoencoder.LATENT_CHANNELS, 8, 8) == tuple(latents.shape)
    assert (latents - codec.encode(images)).std() < 0.03


def test_a_codec_survives_the_disk(codec: autoencoder.Codec, tmp_path: Path) -> None:
    """It is loaded as it was saved."""
    codec.save(tmp_path / "codec.safetensors")
    loaded = autoencoder.Codec.load(tmp_path / "codec.safetensors")
    images = autoencoder.to_images(autoencoder.sample_frames(np.random.default_rng(2), 1, 1))
    assert torch.equal(codec.encode(images), loaded.encode(images))


def test_an_error_counts_half_way_to_its_size_in_pixels(codec: autoencoder.Codec) -> None:
    """The codec's components are at right angles, so the way back to pixels is its transpose."""
    pixels = torch.eye(3 * 16 * 16).view(-1, 3, 16, 16)
    to_latents = (codec.encode(pixels) - codec.offset.view(-1, 1, 1))[:, :, 0, 0].T
    to_pixels = torch.linalg.pinv(to_latents.double()).norm(dim=0)
    importance = codec.importance()
    assert torch.allclose(importance, (to_pixels / to_pixels.mean()).float(), rtol=1e-3)
    assert importance[0] > 3 > 0.8 > importance[-1]


def test_muon_moves_by_orthogonal_matrices_that_processes_share() -> None:
    """Many small moves of one matrix are no longer than few large ones of another."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 20), (20, 6), (6, 20), (6, 5, 2, 2), (8, 8))

    def matrices() -> list[torch.Tensor]:
        found = [torch.zeros(shape) for shape in shapes]
        generator.manual_seed(1)
        for k, matrix in enumerate(found):
            matrix.grad = torch.randn(matrix.shape, generator=generator) * 10.0 ** (k - 2)
        return found

    alone = muon.Muon(matrices(), weight_decay=0.0)
    moves = alone.moves(0, 1)
    shares = [muon.Muon(matrices(), weight_decay=0.0).moves(rank, 3) for rank in range(3)]
    assert torch.allclose(moves, sum(shares), atol=1e-5)
    assert all(0.2 < float((share != 0).float().mean()) < 0.6 for share in shares)
    alone.move(moves, lr=0.5)
    for matrix in alone.matrices:
        rows = matrix.flatten(1)
        values = torch.linalg.svdvals(rows) / (0.5 * muon.LENGTH * max(rows.shape) ** 0.5)
        assert 0.5 < values.min() <= values.max() < 1.3
        assert (matrix.grad * matrix).sum() < 0  # against the gradient


def test_steps_bring_each_part_nearer(
    codec: autoencoder.Codec, tokenizer: text.CLIPTokenizer
) -> None:
    """Some steps on one batch lower the loss of decoder, text encoder and denoiser; all learn."""
    torch.manual_seed(0)
    rng, book = np.random.default_rng(0), text.Codebook()
    decoder = autoencoder.build_autoencoder(codec).decoder
    pictures = autoencoder.decoder_batch(codec, rng, 2)
    encoder = text.build_text_encoder(tokenizer)
    examples = [captions.sample_example(rng) for _ in range(8)]
    tokens = text.tokenize(tokenizer, [example.text for example in examples])
    specs, empty = [example.spec for example in examples], torch.zeros(8, dtype=torch.bool)
    trainee = denoiser.Trainee(denoiser.build_denoiser().eval())
    denoiser.speed_up(trainee.unet)
    noised = batches.with_noise(batches.draw_batch(codec, NO_EMPTY, rng, 2, 1), rng, WORKER.device)
    head = trainee.head.weight.detach().clone()
    losses = {
        decoder: lambda: autoencoder.decoder_loss(decoder, *pictures)[0],
        encoder: lambda: text.text_loss(encoder, book, tokens, specs, empty)[0],
        trainee: lambda: denoiser.denoising_loss(trainee, codec.importance(), *noised)[0],
    }
    for model, compute in losses.items():
        inner = denoiser.inner_matrices(trainee.unet) if model is trainee else ()
        optimiser = training.Optimiser(model.parameters(), 0.9, weight_decay=0.0, inner=inner)
        before = []
        for step in range(8):  # the first ones overshoot: training has a warm-up
            loss = compute()
            loss.backward()
            optimiser.step(WORKER, 3e-4, step)
            before.append(loss.item())
        assert before[-1] < before[0], type(model).__name__
    assert not torch.equal(head, trainee.head.weight)


def test_fast_temporal_layers_are_equal() -> None:
    """The training's replacement computes the same."""
    torch.manual_seed(0)
    model = denoiser.build_denoiser().eval()
    for module in model.modules():
        if isinstance(module, denoiser.TemporalConvLayer):
            torch.nn.init.normal_(module.conv4[-1].weight, std=0.05)
    noised = torch.randn(1, autoencoder.LATENT_CHANNELS, 3, 8, 8)
    inputs = noised, torch.tensor([500]), torch.randn(1, 6, text.WIDTH)
    with torch.no_grad():
        plain = model(*inputs).sample
        denoiser.speed_up(model)
        fast = model(*inputs).sample
    assert torch.allclose(plain, fast, atol=1e-4)


def test_single_frames_come_first_then_longer_clips() -> None:
    """Every step has about the same number of frames."""
    plans = [denoiser.plan_step(budget.Step(k, k / 1000), seed=3) for k in range(1000)]
    assert {1} == {plan.frames for plan in plans[:100]}
    assert {8, 16, 24, 32} == {plan.frames for plan in plans[600:]}
    assert not any(plan.filmed for plan in plans[:490])
    assert 0.6 < np.mean([plan.filmed for plan in plans[510:]]) < 0.8  # the others keep it general
    assert all(48 <= plan.frames * plan.clips <= 64 for plan in plans)


def test_the_schedule_ends_in_pure_noise() -> None:
    """Zero terminal SNR: videos do not inherit the brightness of the noise."""
    alpha, sigma = schedule.signal_and_noise()
    assert alpha[-1] < 1e-3 < 0.99 < alpha[0]
    assert pytest.approx(float(sigma[-1]), abs=1e-3) == 1.0


def test_films_go_the_sampler_s_way_and_new_ones_follow(codec: autoencoder.Codec) -> None:
    """A model that is always right takes noise to its goal; then the next film begins."""
    rng = np.random.default_rng(1)
    films = batches.Films(
        lambda rng: batches.draw_batch(codec, NO_EMPTY, rng, world.NUM_FRAMES, 1),
        WORKER.device,
        kept=2,
    )
    goal, timesteps, latents = films.take(rng, 2)
    assert timesteps.tolist() == [999, 999]
    assert abs(float(latents.std()) - 1) < 0.05
    begun = goal.latents
    for _ in range(max(batches.OTHER_STEPS)):
        films.go_on(goal.latents)
        before = timesteps
        goal, timesteps, latents = films.take(rng, 2)
        if not all((begun == clip).flatten(1).all(1).any() for clip in goal.latents.split(1)):
            break
        assert timesteps.max() < before.max()
    else:
        pytest.fail("no film came to its end")
    assert 999 in timesteps.tolist()  # the next one begins, and the other goes on


def test_a_film_of_a_model_that_is_right_becomes_what_it_should(codec: autoencoder.Codec) -> None:
    """The scheduler takes away all of the noise, step by step."""
    rng = np.random.default_rng(2)
    goal = batches.draw_batch(codec, NO_EMPTY, rng, world.NUM_FRAMES, 1).latents
    film, distances = batches.Film(rng, WORKER.device), []
    while not film.is_done():
        distances.append(float((film.latents - goal).std()))
        film.go_on(goal)
    assert distances == sorted(distances, reverse=True)
    assert torch.allclose(goal, film.latents, atol=1e-4)


def test_the_denoiser_learns_from_frames_and_in_the_end_from_films(
    codec: autoencoder.Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames come with imitated codes, films with those that the encoder reads in captions."""
    seen: list[tuple[int, int, int]] = []
    compute = denoiser.denoising_loss

    def note(trainee: denoiser.Trainee, importance: torch.Tensor, batch: batches.Batch,
             timesteps: torch.Tensor, noised: torch.Tensor) -> object:  # fmt: skip
        seen.append((*batch.latents.shape[::2][:2], batch.codes.shape[1]))
        return compute(trainee, importance, batch, timesteps, noised)

    monkeypatch.setattr(denoiser, "denoising_loss", note)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)  # of the other tests, too
    codec.save(tmp_path / "codec.safetensors")
    save_untrained_encoder(tmp_path)
    seed = next(k for k in range(99) if denoiser.plan_step(budget.Step(1, 0.9), k).filmed)
    checked: list[Path] = []

    def check(folder: Path) -> dict[str, float]:
        checked.append(folder)
        return {"right": 0.5}

    denoiser.train_denoiser(WORKER, tmp_path, 1e-3, seed, check)
    before = denoiser.load_denoiser(tmp_path).state_dict()
    spent = torch.load(tmp_path / "denoiser.checkpoint", weights_only=True)["spent"]
    denoiser.train_denoiser(WORKER, tmp_path, spent + 1e-3, seed, check)  # the time is nearly over
    frame, film = seen
    assert (64, 1) == (frame[0], frame[1])
    assert (4, 16) == (film[0], film[1])
    assert (text.MAX_TOKENS // 4, text.MAX_TOKENS) == (frame[2], film[2])
    assert [tmp_path] * 2 == checked  # at the end of each run
    after = denoiser.load_denoiser(tmp_path).state_dict()
    assert [*before] == [*after]
    assert not all(torch.equal(before[name], after[name]) for name in before)
    assert '"judged": {"right": 0.5}' in (tmp_path / "log.jsonl").read_text()


def test_at_the_end_the_decoder_learns_from_films(
    codec: autoencoder.Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames as the denoiser leaves them are in the batches; the encoder stays as it was built."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    compute = autoencoder.decoder_loss

    def note(
        decoder: torch.nn.Module, images: torch.Tensor, latents: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        seen.append((images, latents))
        return compute(decoder, images, latents)

    monkeypatch.setattr(autoencoder, "decoder_loss", note)
    codec.save(tmp_path / "codec.safetensors")
    before = autoencoder.build_autoencoder(codec).state_dict()
    save_file({k: v.contiguous() for k, v in before.items()}, tmp_path / "vae.safetensors")
    unet = denoiser.build_denoiser().state_dict()
    save_file({k: v.contiguous() for k, v in unet.items()}, tmp_path / "unet.safetensors")
    encoder = text.build_text_encoder(text.build_tokenizer(tmp_path)).state_dict()
    save_file(
        {k: v.contiguous() for k, v in encoder.items()}, tmp_path / "text_encoder.safetensors"
    )
    finish.train_on_films(WORKER, tmp_path, seconds=0.01, batch=8, seed=4)
    ((images, latents),) = seen  # a step, and the time is over
    away = (codec.encode(images.cpu()) - latents).flatten(1).pow(2).mean(1)
    assert (away > 0.3).tolist() == [True] * 6 + [False] * 2  # that denoiser knows nothing
    after = autoencoder.load_autoencoder(tmp_path).state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("decoder.") for key in changed)


def _stage(folder: Path, seconds: float) -> tuple[torch.nn.Linear, budget.Stage]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2)
    inner = [layer.weight]
    optimiser = training.Optimiser(layer.parameters(), ema_decay=0.9, weight_decay=0.0, inner=inner)
    return layer, budget.Stage(WORKER, folder, "x", seconds, optimiser)


def _train(layer: torch.nn.Linear, stage: budget.Stage, steps: int) -> Iterator[budget.Step]:
    for step in islice(stage.steps(), steps):
        layer(torch.ones(1, 2)).sum().backward()
        stage.optimiser.step(WORKER, 0.1, step.number)
        yield step


def test_a_killed_stage_takes_up_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, averages, moments, step and time are as they were; the log goes on."""
    monkeypatch.setattr(budget, "CHECKPOINT_SECONDS", 0.0)  # one after each step
    layer, stage = _stage(tmp_path, 1000)
    numbers = [step.number for step in _train(layer, stage, 5)]
    assert [0, 1, 2, 3, 4] == numbers  # the last one was cut short before its checkpoint
    torch.manual_seed(1)
    resumed_layer, resumed = _stage(tmp_path, 1000)
    assert (4, stage.optimiser.live[0].shape) == (resumed.number, resumed_layer.weight.shape)
    assert 0 < resumed.spent < 1000
    assert [4, 5] == [step.number for step in _train(resumed_layer, resumed, 2)]
    unbroken_layer, unbroken = _stage(tmp_path / "never", 1000)
    (tmp_path / "never").mkdir()
    list(_train(unbroken_layer, unbroken, 6))
    assert torch.equal(unbroken_layer.weight, resumed_layer.weight)


def test_a_stage_ends_with_its_time(tmp_path: Path) -> None:
    """The learning rate has fallen by then, a last checkpoint and a line of the log are written."""
    layer, stage = _stage(tmp_path, 0.05)
    shares = [step.share for step in _train(layer, stage, 10**6)]
    assert shares == sorted(shares)
    assert shares[-1] < 1 <= stage.spent / stage.seconds
    rates = [budget.learning_rate(budget.Step(1000, share), 1.0) for share in (0, 0.5, 0.99, 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    assert '"stage": "x"' in (tmp_path / "log.jsonl").read_text()
    assert _stage(tmp_path, 0.05)[1].number == stage.number
