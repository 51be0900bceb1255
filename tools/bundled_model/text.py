"""The tokenizer and the text encoder: from a caption to a code for what it asks for.

From the end-of-text token on, the encoder's states are taught to be a fixed code, a sum of one
direction for each attribute. All the variety of language is dealt with here; the denoiser only
ever sees the codes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import captions, training, world

MAX_TOKENS = 40
WIDTH = 128
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "thing": world.THINGS,
    "colour": tuple(world.COLOURS),
    "scene": world.SCENES,
    "motion": world.MOTIONS,
    "size": world.SIZES,
}


def build_tokenizer(work_dir: Path) -> CLIPTokenizer:
    """Make a byte-level tokenizer that knows the captions' words whole, others in pieces."""
    words = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]|[^\sa-z0-9]+"), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    words.train_from_iterator(sorted(set(" ".join(captions.vocabulary_text()).split())), trainer)
    merges = [tuple(pair) for pair in _merges(words)]
    pieces = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *("".join(pair) for pair in merges),
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(work_dir / "tokenizer")
    return load_tokenizer(work_dir)


def _merges(words: Tokenizer) -> list[list[str]]:
    import json

    merges = json.loads(words.to_str())["model"]["merges"]
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]


def load_tokenizer(work_dir: Path) -> CLIPTokenizer:
    """Return the tokenizer, as `build_tokenizer` left it."""
    return CLIPTokenizer.from_pretrained(work_dir / "tokenizer")


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


class Codebook:
    """The directions that stand for attribute values, the empty prompt, and words not yet ended."""

    def __init__(self) -> None:
        count = sum(len(values) for values in ATTRIBUTES.values()) + 2
        generator = torch.Generator().manual_seed(20)
        square = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
        rows = torch.linalg.qr(square).Q.T[:count].float()
        lengths = [len(values) for values in ATTRIBUTES.values()]
        *attributes, special = rows.split([*lengths, 2])
        scale = (WIDTH / len(ATTRIBUTES)) ** 0.5
        self.directions = {name: d * scale for name, d in zip(ATTRIBUTES, attributes, strict=True)}
        self.empty, self.unended = special * WIDTH**0.5

    def code(self, specs: list[world.Spec]) -> Tensor:
        """-> (specs, WIDTH)"""
        labels = attribute_labels(specs)
        return torch.stack([d[labels[name]] for name, d in self.directions.items()]).sum(0)

    def states(
        self, specs: list[world.Spec], rng: np.random.Generator, empty_share: float
    ) -> Tensor:
        """Imitate the trained encoder's states for captions of these specs.

        So the denoiser can be trained before, after or beside the encoder. A quarter of the tokens
        will do: attention cannot tell copies of a token from their share.
        (specs, MAX_TOKENS / 4, WIDTH)
        """
        empty = torch.from_numpy(rng.random(len(specs)) < empty_share)
        lengths = torch.from_numpy(rng.integers(1, 7, size=len(specs)))
        lengths[empty] = 0
        ended = torch.arange(MAX_TOKENS // 4) >= lengths[:, None]
        codes = torch.where(empty[:, None], self.empty, self.code(specs))
        states = torch.where(ended[..., None], codes[:, None], self.unended)
        noise = rng.standard_normal(states.shape, dtype=np.float32)
        return states + 0.1 * torch.from_numpy(noise)

    def read(self, states: Tensor) -> list[world.Spec]:
        """Return the specs whose codes are nearest to `states`.  # (captions, WIDTH)"""
        best = {name: (states @ d.T).argmax(-1).tolist() for name, d in self.directions.items()}
        return [
            world.Spec(**{name: ATTRIBUTES[name][best[name][k]] for name in ATTRIBUTES})
            for k in range(len(states))
        ]


def attribute_labels(specs: list[world.Spec]) -> dict[str, Tensor]:
    """Return the number of each attribute's value.  # name -> (specs,)"""
    return {
        name: torch.tensor([values.index(getattr(spec, name)) for spec in specs])
        for name, values in ATTRIBUTES.items()
    }


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """-> (texts, MAX_TOKENS)"""
    tokens = tokenizer(
        texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    return tokens.input_ids


@torch.no_grad()
def encode(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, texts: list[str]) -> Tensor:
    """-> (texts, MAX_TOKENS, WIDTH)"""
    return encoder(tokenize(tokenizer, texts).to(encoder.device))[0]


def text_loss(
    encoder: CLIPTextModel, book: Codebook, tokens: Tensor, specs: list[world.Spec], empty: Tensor
) -> tuple[Tensor, float]:
    """Return the loss to descend and the share of captions that are understood in every attribute.

    `empty` (captions,) tells which captions are the empty one; their specs do not count.
    """
    states = encoder(tokens)[0]
    ended = tokens == encoder.config.eos_token_id
    targets = torch.where(empty[:, None], book.empty, book.code(specs))
    targets = torch.where(ended[..., None], targets[:, None], book.unended)
    loss = F.mse_loss(states, targets)
    last = states[~empty][:, -1]
    first = states[~empty][torch.arange(len(last)), ended[~empty].int().argmax(1)]
    labels = attribute_labels([s for s, e in zip(specs, empty.tolist(), strict=True) if not e])
    right = torch.ones(len(last), dtype=torch.bool)
    for name, directions in book.directions.items():
        loss = loss + 0.1 * F.cross_entropy(first @ directions.T, labels[name])
        loss = loss + 0.1 * F.cross_entropy(last @ directions.T, labels[name])
        right &= (last @ directions.T).argmax(-1) == labels[name]
    return loss, float(right.float().mean())


def train_text_encoder(work_dir: Path, steps: int, batch: int, seed: int) -> None:
    """Train the encoder on drawn captions; write `text_encoder.safetensors`."""
    torch.manual_seed(seed)
    worker = training.Worker(0, 1, torch.device("cpu"))
    tokenizer, book = build_tokenizer(work_dir), Codebook()
    encoder = build_text_encoder(tokenizer)
    optimiser = training.Optimiser(encoder.parameters(), ema_decay=0.99, weight_decay=0.01)
    checkpoint = work_dir / "text_encoder.checkpoint"
    start = training.load_checkpoint(checkpoint, optimiser)
    means = training.RunningMeans()
    for step in training.steps_with_progress(worker, "text", start, steps, lambda: str(means)):
        rng = np.random.default_rng([seed, step])
        length = MAX_TOKENS if step % 4 == 0 else MAX_TOKENS // 2  # most captions are short
        examples = _short_examples(tokenizer, rng, batch, length)
        empty = torch.from_numpy(rng.random(batch) < 0.02)
        texts = ["" if e else x.text for x, e in zip(examples, empty.tolist(), strict=True)]
        tokens = tokenize(tokenizer, texts)[:, :length]
        loss, right = text_loss(encoder, book, tokens, [x.spec for x in examples], empty)
        loss.backward()
        optimiser.step(worker, training.learning_rate(step, steps, 2e-3), step)
        means.add(loss=loss.item(), right=right)
        if (step + 1) % 500 == 0:
            training.save_checkpoint(checkpoint, step + 1, optimiser)
    optimiser.load_averages()
    save_file(
        {k: v.contiguous() for k, v in encoder.state_dict().items()},
        work_dir / "text_encoder.safetensors",
    )


def _short_examples(
    tokenizer: CLIPTokenizer, rng: np.random.Generator, count: int, length: int
) -> list[captions.Example]:
    examples: list[captions.Example] = []
    while len(examples) < count:
        drawn = [captions.sample_example(rng) for _ in range(count)]
        sizes = map(len, tokenizer([x.text for x in drawn]).input_ids)
        examples += [x for x, size in zip(drawn, sizes, strict=True) if size <= length]
    return examples[:count]


def load_text_encoder(work_dir: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return the trained encoder."""
    encoder = build_text_encoder(tokenizer)
    encoder.load_state_dict(load_file(work_dir / "text_encoder.safetensors"))
    return encoder.eval()
