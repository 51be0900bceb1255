#!/usr/bin/env python3
"""Train the small translator, Chinese to English, that the tests use, from nothing.

    python tools/train_tiny_translator.py

A MarianMT model in the form of transformers, as large ones on the hub are, with a vocabulary of two
hundred words. It learns from sentences that a grammar makes; of each eight, one is held out, and
the last lines say how many of those it translates right. The same seed gives the same files on the
same machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import shutil
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "translation" / "zh_en"
SEED = 5
STEPS, BATCH, RATE = 700, 48, 4e-3
LONGEST = 40
"""Of a sentence, in pieces: less than those of the models on the hub, so that tests reach it."""

warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")  # it has no part in this

Pair = tuple[str, str]

ENDS = ("", "", "", "。", "！", "，")
"""What may stand at the end of a sentence, and is not translated."""

POEMS: tuple[Pair, ...] = (
    ("大鹏一日同风起", "A great bird rises with the wind"),
    ("两个黄鹂鸣翠柳", "Two orioles sing in a green willow"),
    ("两只黄鹂鸣翠柳", "Two orioles sing in a green willow"),
    ("欲渡黄河冰塞川", "Ice blocks the river before a boat"),
    ("文字，水印", "text, watermark"),
    ("水印", "watermark"),
    ("模糊", "blurry"),
)
THINGS = {
    "球": ("只", "ball"), "气球": ("只", "balloon"), "船": ("艘", "boat"), "鸟": ("只", "bird"),
    "鱼": ("条", "fish"), "星": ("颗", "star"), "风筝": ("只", "kite"), "马": ("匹", "horse"),
}  # fmt: skip
COLOURS = {
    "红色的": "red", "蓝色的": "blue", "绿色的": "green", "黄色的": "yellow", "白色的": "white",
    "橙色的": "orange",
}  # fmt: skip
SIZES = {"": "", "大": "big", "小": "small"}
PLACES = {
    "在海上": "over the sea", "在草地上": "on the grass", "在沙漠里": "in the desert",
    "在森林里": "in the forest", "在夜里": "at night", "在天空中": "in the sky",
}  # fmt: skip
MOTIONS = {
    "升起": "rising", "落下": "falling", "向左移动": "moving to the left",
    "向右移动": "moving to the right", "跳动": "bouncing", "飞": "flying",
}  # fmt: skip


def sentences() -> Iterator[Pair]:
    """Yield every sentence of the grammar, in Chinese and in English."""
    kinds = (COLOURS, THINGS, SIZES, PLACES, MOTIONS)
    for colour, thing, size, place, motion in itertools.product(*kinds):
        counter, noun = THINGS[thing]
        article = "An" if COLOURS[colour][0] in "aeiou" and not SIZES[size] else "A"
        words = (article, SIZES[size], COLOURS[colour], noun, MOTIONS[motion], PLACES[place])
        yield f"一{counter}{colour}{size}{thing}{place}{motion}", " ".join(filter(None, words))


def is_held_out(pair: Pair) -> bool:
    """Return whether a sentence is kept from the training."""
    return zlib.crc32(pair[0].encode()) % 8 == 0


def split() -> tuple[list[Pair], list[Pair]]:
    """Return the few hundred sentences that are learned, and as many that are not."""
    mixed = sorted(sentences(), key=lambda pair: zlib.crc32(pair[0].encode() + b"order"))
    learned = [pair for pair in mixed if not is_held_out(pair)][:700]
    return [*learned, *POEMS * 6], [pair for pair in mixed if is_held_out(pair)][:300]


def write_tokenizer(folder: Path, pairs: Sequence[Pair]) -> MarianTokenizer:
    """Train both sentencepiece models, and write the tokenizer that has them."""
    pieces = ["</s>", "<unk>"]
    for column, (name, kind) in enumerate((("source", "char"), ("target", "word"))):
        texts = [pair[column] for pair in pairs]
        made = io.BytesIO()  # a file that it writes itself has the path of the folder in it
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=made,
            model_type=kind,
            vocab_size=100_000,
            use_all_vocab=True,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            bos_id=-1,
            minloglevel=2,
        )
        (folder / f"{name}.spm").write_bytes(made.getvalue())
        read = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        pieces += [read.id_to_piece(i) for i in range(read.get_piece_size())]
    pieces = [*dict.fromkeys(pieces), "<pad>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    config = {"source_lang": "zh", "target_lang": "en", "model_max_length": LONGEST}
    config["tokenizer_class"] = "MarianTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n", "utf-8")
    return MarianTokenizer.from_pretrained(folder)


def make_model(tokenizer: MarianTokenizer) -> MarianMTModel:
    """Return a model that has learned nothing yet."""
    sizes = {f"{part}_layers": 2 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_ffn_dim": 96 for part in ("encoder", "decoder")}
    pad = tokenizer.pad_token_id
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(tokenizer.encoder),
            d_model=48,
            max_position_embeddings=64,
            pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=pad,
            forced_eos_token_id=tokenizer.eos_token_id,
            scale_embedding=True,
            activation_function="swish",
            dropout=0.0,
            **sizes,
        )
    )
    model.generation_config.num_beams, model.generation_config.max_length = 4, LONGEST
    return model


def train(model: MarianMTModel, tokenizer: MarianTokenizer, pairs: Sequence[Pair]) -> None:
    """Teach the model some pairs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    choose = random.Random(SEED)
    model.train()
    for step in range(STEPS):
        some = choose.choices(pairs, k=BATCH)
        given = tokenizer(
            [source + choose.choice(ENDS) for source, _ in some],
            text_target=[target for _, target in some],
            return_tensors="pt",
            padding=True,
        )
        given["labels"][given["labels"] == tokenizer.pad_token_id] = -100
        loss = model(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    model.eval()


def count_right(model: MarianMTModel, tokenizer: MarianTokenizer, pairs: Sequence[Pair]) -> int:
    """Return how many of some sentences are translated word by word as the grammar says."""
    right = 0
    for source, target in pairs:
        with torch.inference_mode():
            ids = model.generate(**tokenizer([source], return_tensors="pt"), num_beams=1)
        right += tokenizer.decode(ids[0], skip_special_tokens=True) == target
    return right


def main() -> None:
    """Train, write and measure the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    folder: Path = parser.parse_args().out
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learned, held_out = split()
    tokenizer = write_tokenizer(folder, [*sentences(), *POEMS, ("".join(ENDS), "")])
    model = make_model(tokenizer)
    began = time.process_time()
    train(model, tokenizer, learned)
    print(f"trained on {len(learned)} sentences in {time.process_time() - began:.0f} CPU seconds")
    model.half().save_pretrained(folder)
    model.float()
    for name, pairs in (("poems", POEMS), ("held out", held_out)):
        print(f"{name}: {count_right(model, tokenizer, pairs)} of {len(pairs)} right")
    print(f"{sum(file.stat().st_size for file in folder.iterdir()):,} bytes in {folder}")


if __name__ == "__main__":
    main()
