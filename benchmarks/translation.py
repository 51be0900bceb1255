"""What the translation of prompts costs, and how often a language is misjudged.

    python benchmarks/translation.py

The cost is that of a MarianMT model of the size of Helsinki-NLP's, with random weights, on one
thread like the daemon's translator. The prompts are the two hundred short ones of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import yaml
from reeldrop.translation import detection

ROOT = Path(__file__).resolve().parent.parent
SHORT = ROOT / "tests" / "translation" / "short_prompts.yaml"
TRANSLATORS = (("zh", "ja", "ko", "ru"), ("de",), ("fr",), ("es",), ("de", "fr"),
               ("de", "fr", "es", "it", "pt", "zh", "ja", "ko", "ru"))  # fmt: skip
PIECES = (12, 40)
"""How many pieces a translation has: about as many as words, in English."""


def judged(translators: tuple[str, ...]) -> dict[str, Any]:
    """Return how the short prompts are judged where these languages have a translator."""
    prompts: dict[str, list[str]] = yaml.safe_load(SHORT.read_text(encoding="utf-8"))
    counts = {"english_misjudged": 0, "recognised": 0, "not_recognised": 0, "mixed_up": 0}
    for own, texts in prompts.items():
        for text in texts:
            found = detection.language(text, translators, (detection.ENGLISH,))
            if own == detection.ENGLISH:
                counts["english_misjudged"] += found is not None
            elif own in translators:
                what = "recognised" if found == own else "mixed_up" if found else "not_recognised"
                counts[what] += 1
    return {"translators": " ".join(translators), **counts}


def cost() -> dict[str, Any]:
    """Return CPU seconds and peak memory of a full-size translator on one thread."""
    began = time.process_time()
    import torch
    from reeldrop.translation import worker
    from transformers import MarianConfig, MarianMTModel

    torch.set_num_threads(worker.THREADS)
    started = time.process_time() - began
    each = {"layers": 6, "ffn_dim": 2048, "attention_heads": 8}
    sizes = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in each.items()}
    ends = {"pad_token_id": 65000, "decoder_start_token_id": 65000, "eos_token_id": 0}
    model: Any = MarianMTModel(MarianConfig(vocab_size=65001, d_model=512, **sizes, **ends)).eval()
    found: dict[str, Any] = {"start_cpu_seconds": round(started, 2)}
    text = torch.randint(1, 60_000, (1, 12))
    for pieces in PIECES:
        began = time.process_time()
        with torch.inference_mode():
            model.generate(
                input_ids=text,
                num_beams=worker.BEAMS,
                min_new_tokens=pieces,
                max_new_tokens=pieces,
                do_sample=False,
            )
        found[f"cpu_seconds_for_{pieces}"] = round(time.process_time() - began, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "peak_mib": peak >> 10}


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = list(map(judged, TRANSLATORS))
    print("| " + " | ".join(rows[0]).replace("_", " ") + " |\n" + "| --- " * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    found = cost()
    print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()))
    print(json.dumps({"detection": rows, "translator": found}))


if __name__ == "__main__":
    main()
