"""The second edition of the bundled model: its world, its captions, its judge, its training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled_model import training
from second_edition import (
    autoencoder,
    batches,
    budget,
    captions,
    components,
    denoiser,
    judge,
    quality,
    scenes,
    text,
    world,
)

KEPT = Path(text.__file__).with_name("stages")
WORKER = training.Worker(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> text.CLIPTokenizer:
    """The tokenizer, from its file."""
    return text.build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def codec() -> autoencoder.Codec:
    """A codec that was fitted on few clips."""
    return autoencoder.fit_codec(seed=0, clips=25)


def test_the_judge_is_right_on_drawn_clips() -> None:
    """Every attribute of held-out clips is recognised, and every thing is among them."""
    rng, tally, things = np.random.default_rng(4), quality.Tally(), set[str]()
    for seed in range(15):
        spec = world.sample_spec(rng, held_out=True)
        things.add(spec.thing)
        tally.add(captions.Example("", spec), world.draw_clip(spec, seed, 8))
    assert [] == tally.wrong
    assert len(things) >= 7
    assert tally.shares()["steadiness"] > 0.9


def test_the_judge_does_not_see_what_is_not_there() -> None:
    """An empty scene, noise, a bar, and a thing that loses its half are none of the things."""
    sea = np.repeat(np.rint(scenes.background("sea", "night"))[None].astype(np.uint8), 8, axis=0)
    verdict = judge.judge(sea)
    assert ("sea", "night", None, None) == (
        verdict.scene, verdict.time, verdict.thing, verdict.count
    )  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, sea.shape, dtype=np.uint8)
    bar = sea.copy()
    bar[:, 60:66, 4:124] = world.COLOURS["red"]
    assert judge.judge(noise).thing is None
    assert judge.judge(bar).thing is None
    flickers = world.draw_clip(captions.EXAMPLES["Spiderman is surfing"], 0, 8)
    steady = judge.judge(flickers).steadiness
    flickers[::2, 64:] = scenes.background("sea", "day")[64:]
    assert judge.judge(flickers).steadiness < 0.8 < steady


def test_parts_touch_by_sides_not_by_corners() -> None:
    """A ring, what lies in it, and a blob that touches the ring at a corner are three parts."""
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False
    mask[4, 4] = mask[8, 8] = True
    sizes = [int(part.sum()) for part in components.components(mask, 1)]
    assert [24, 1, 1] == sizes
    assert [24] == [int(part.sum()) for part in components.components(mask, 2)]


def test_drawings_are_repeatable_and_whole() -> None:
    """The same seed draws the same; nothing is cut at the edge, wherever a thing goes."""
    rng = np.random.default_rng(1)
    for motion in world.MOTIONS:
        for size, count in (("big", "one"), ("small", "two")):
            spec = world.Spec("rider", "brown", "desert", "day", motion, size, count)
            cover = world.coverage(spec, world.track(spec, 9, rng, world.WIDE_JITTER))
            assert np.ptp(cover.sum((1, 2))) < 0.02 * cover[0].sum()
            assert 0 == max(cover[:, 0].max(), cover[:, -1].max(), cover[:, :, 0].max(),
                            cover[:, :, -1].max())  # fmt: skip
    one, other, third = (world.draw_clip(spec, seed, 4) for seed in (5, 5, 6))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


def test_colours_stand_out_from_every_scene() -> None:
    """No colour of a thing comes near to any large part of a scene, by day and by night."""
    for scene in world.SCENES:
        for time in world.TIMES:
            picture = scenes.background(scene, time)
            for name, colour in world.COLOURS.items():
                near = np.abs(picture - np.array(colour)).sum(-1) < judge.FOREIGN
                assert near.mean() < 0.04, (scene, time, name)


def test_training_never_sees_what_is_held_out() -> None:
    """Neither a drawn clip nor a caption, not even by what goes without saying."""
    rng = np.random.default_rng(1)
    assert not any(world.is_held_out(world.sample_spec(rng)) for _ in range(300))
    assert not any(world.is_held_out(captions.sample_example(rng).spec) for _ in range(600))
    share = np.mean([world.is_held_out(spec) for spec in world.all_specs()])
    assert 0.09 < share < 0.11
    held_out = captions.held_out_captions(40, seed=7)
    assert captions.held_out_captions(40, seed=7) == held_out
    assert all(world.is_held_out(example.spec) for example in held_out)
    assert 20 == sum(bool(re.search(text.HAN, example.text)) for example in held_out)
    # The examples' lines are trained, so what they stand for must not count as held out.
    assert not any(world.is_held_out(spec) for spec in captions.VERSES.values())


@pytest.mark.parametrize("name", captions.LANGUAGES)
def test_each_language_can_say_everything(name: str) -> None:
    """Each value has words, and no phrase means two things."""
    language = captions.LANGUAGES[name]
    assert set(world.THINGS) == set(language.nouns)
    groups = {"colours": world.COLOURS, "sizes": world.SIZES, "scenes": world.SCENES,
              "times": world.TIMES, "motions": world.MOTIONS}  # fmt: skip
    for group, values in groups.items():
        said = getattr(language, group)
        assert set(values) == set(said)
        phrases = [phrase for options in said.values() for phrase in set(options)]
        assert sorted(set(phrases)) == sorted(phrases)
    assert not set(language.templates) & set(language.held_out_templates)


def test_plain_captions_read_like_prompts() -> None:
    """Plain words, in the order that people use."""
    one = world.Spec("balloon", "red", "sea", "night", "rising", "big", "one")
    two = world.Spec("bird", "yellow", "willow", "day", "still", "small", "two")
    assert "a big red balloon rising over the sea at night" == captions.plain_caption(one)
    assert "两只黄色的鸟在柳树上静止不动" == captions.plain_caption(two, captions.CHINESE)


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


def test_the_kept_text_encoder_reads_the_lines_of_the_examples() -> None:
    """In every attribute: those of the examples, and most captions of held-out specs."""
    tokenizer = text.load_tokenizer(KEPT)
    encoder, book = text.load_text_encoder(KEPT, tokenizer), text.Codebook()

    def read(lines: list[str]) -> list[world.Spec]:
        return book.read(text.encode(tokenizer, encoder, lines)[:, -1])

    assert [*captions.EXAMPLES.values()] == read([*captions.EXAMPLES])
    others = captions.held_out_captions(100, 99)
    read_as = zip(others, read([example.text for example in others]), strict=True)
    assert sum(example.spec == spec for example, spec in read_as) >= 98


def test_the_built_encoder_is_the_codec(codec: autoencoder.Codec) -> None:
    """The AutoencoderKL's encoder computes the codec's linear map."""
    images = autoencoder.to_images(autoencoder.sample_frames(np.random.default_rng(1), 2, 1))
    model = autoencoder.build_autoencoder(codec)
    with torch.no_grad():
        latents = model.encode(images).latent_dist.mode()
    assert (2, autoencoder.LATENT_CHANNELS, 8, 8) == tuple(latents.shape)
    assert (latents - codec.encode(images)).std() < 0.03


def test_steps_bring_each_part_nearer(
    codec: autoencoder.Codec, tokenizer: text.CLIPTokenizer
) -> None:
    """Some steps on one batch lower the loss of decoder, text encoder and denoiser."""
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
    noised = batches.with_noise(batches.draw_batch(codec, book, rng, 2, 1), rng, WORKER.device)
    losses = {
        decoder: lambda: autoencoder.decoder_loss(decoder, *pictures)[0],
        encoder: lambda: text.text_loss(encoder, book, tokens, specs, empty)[0],
        trainee: lambda: denoiser.denoising_loss(trainee, *noised)[0],
    }
    for model, compute in losses.items():
        optimiser = training.Optimiser(model.parameters(), ema_decay=0.9, weight_decay=0.0)
        before = []
        for step in range(8):  # the first ones overshoot: training has a warm-up
            loss = compute()
            loss.backward()
            optimiser.step(WORKER, 3e-4, step)
            before.append(loss.item())
        assert before[-1] < before[0], type(model).__name__


def test_films_go_the_sampler_s_way_and_new_ones_follow(codec: autoencoder.Codec) -> None:
    """A model that is always right takes noise to its goal; then the next film begins."""
    rng, book = np.random.default_rng(1), text.Codebook()
    films = batches.Films(lambda rng: batches.draw_batch(codec, book, rng, 2, 1), WORKER.device)
    goal, timesteps, latents = films.take(rng, 2)
    assert timesteps.tolist() == [999, 999]
    assert abs(float(latents.std()) - 1) < 0.05
    first = goal.latents[0]
    for _ in range(max(batches.OTHER_STEPS)):
        before = latents[0]
        films.go_on(goal.latents)
        goal, timesteps, latents = films.take(rng, 2)
        if not torch.equal(goal.latents[0], first):
            break
        assert (latents[0] - first).std() < (before - first).std()
    else:
        pytest.fail("no film came to its end")
    assert 999 in timesteps.tolist()


def _stage(folder: Path, seconds: float) -> tuple[torch.nn.Linear, budget.Stage]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2)
    optimiser = training.Optimiser(layer.parameters(), ema_decay=0.9, weight_decay=0.0)
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
