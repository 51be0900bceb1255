"""The tokenizer and the text encoder: from a caption to a code for what it asks for.

From the end-of-text token on, the encoder's states are taught to be a fixed code, a sum of one
direction for each attribute. All the variety of language is dealt with here; the denoiser only
ever sees the codes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import budget, captions, training, world

MAX_TOKENS = 40
WIDTH = 128
LAYERS = 3
EMPTY_SHARE = 0.02
HAN = r"[\u4e00-\u9fff]"
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "thing": world.THINGS,
    "colour": tuple(world.COLOURS),
    "scene": world.SCENES,
    "time": world.TIMES,
    "motion": world.MOTIONS,
    "size": world.SIZES,
    "count": world.COUNTS,
}


def build_tokenizer(work_dir: Path) -> CLIPTokenizer:
    """Make a tokenizer that knows the captions' words whole, others in pieces.

    Of words in Latin letters the pieces are bytes, as CLIP's are. Each Chinese character of the
    captions is a token by itself, wherever it stands; CLIP's own way would give it two, one for
    the middle and one for the end of a row of characters.
    """
    said = " ".join(captions.vocabulary_text()).lower()
    merges = _merges(sorted(set(re.findall(r"[a-z]+|[0-9]|[^\s\w]", said))))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *("".join(pair) for pair in merges),
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
    tokenizer.add_tokens(sorted(set(re.findall(HAN, said))))
    tokenizer.save_pretrained(work_dir / "tokenizer")
    return load_tokenizer(work_dir)


def _merges(words: list[str]) -> list[tuple[str, ...]]:
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    bpe.train_from_iterator(words, trainer)
    merges = json.loads(bpe.to_str())["model"]["merges"]
    return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]


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
        num_hidden_layers=LAYERS,
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


def train_text_encoder(
    worker: training.Worker, work_dir: Path, seconds: float, batch: int, seed: int
) -> None:
    """Train the encoder on drawn captions; write `text_encoder.safetensors`."""
    torch.manual_seed(seed)
    tokenizer, book = load_tokenizer(work_dir), Codebook()
    encoder = build_text_encoder(tokenizer)  # small: CPUs do, even beside a GPU
    optimiser = training.Optimiser(encoder.parameters(), ema_decay=0.99, weight_decay=0.01)
    stage = budget.Stage(worker, work_dir, "text", seconds, optimiser)
    for step in stage.steps():
        rng = np.random.default_rng([seed, worker.rank, step.number])
        length = MAX_TOKENS if step.number % 4 == 0 else MAX_TOKENS // 2  # most are short
        examples = _short_examples(tokenizer, rng, batch // worker.count, length)
        empty = torch.from_numpy(rng.random(len(examples)) < EMPTY_SHARE)
        texts = ["" if e else x.text for x, e in zip(examples, empty.tolist(), strict=True)]
        tokens = tokenize(tokenizer, texts)[:, :length]
        loss, right = text_loss(encoder, book, tokens, [x.spec for x in examples], empty)
        loss.backward()
        optimiser.step(worker, budget.learning_rate(step, 2e-3), step.number)
        stage.means.add(loss=loss.item(), right=right)
    optimiser.load_averages()
    if worker.leads:
        weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
        save_file(weights, work_dir / "text_encoder.safetensors")


def _short_examples(
    tokenizer: CLIPTokenizer, rng: np.random.Generator, count: int, length: int
) -> list[captions.Example]:
    examples: list[captions.Example] = []
    while len(examples) < count:
        drawn = [captions.sample_example(rng) for _ in range(count)]
        sizes = map(len, tokenizer([x.text for x in drawn]).input_ids)
        examples += [x for x, size in zip(drawn, sizes, strict=True) if size <= length]
    return examples[:count]


class Reader:
    """The trained encoder, which reads captions of specs: what the denoiser is given in the end."""

    def __init__(self, work_dir: Path) -> None:
        self._tokenizer = load_tokenizer(work_dir)
        self._encoder = load_text_encoder(work_dir, self._tokenizer)

    def states(self, specs: list[world.Spec], rng: np.random.Generator) -> Tensor:
        """Say the specs in English or Chinese, and read that.

        (specs, MAX_TOKENS, WIDTH)
        """
        said = [captions.caption(spec, rng, captions.draw_language(rng)) for spec in specs]
        return encode(self._tokenizer, self._encoder, said)


def load_text_encoder(work_dir: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return the trained encoder."""
    encoder = build_text_encoder(tokenizer)
    encoder.load_state_dict(load_file(work_dir / "text_encoder.safetensors"))
    return encoder.eval()
