"""The process that translates: reads orders from stdin, and answers on stdout, in lines of JSON.

An order is `{"folder": ..., "text": ...}`, with a sentence. After each translated part of it the
answer is `{"done": count}`, at the end `{"text": ...}`, `{"unfit": reason}` if the model makes
nothing of this text, `{"not_loaded": reason}` or `{"error": reason}`. It ends with its stdin.

As a process of its own it takes no time from the threads that render, frees all of its memory when
it ends, and can be ended while it hangs. The same text gives the same translation: beam search
without sampling, in float32, one text at a time, on one thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import IO, Any

from reeldrop.translation.sentences import cut

NICENESS = 5
"""Lower priority than the renders, which need the cores if there is no GPU."""

THREADS = 1
BEAMS = 4
"""For models that do not say how many."""

LONGEST = 512
"""Upper bound on the tokens of a part, for models that do not give one."""


class Endless(ValueError):
    """A translation came to no end, as of texts that a model does not understand."""


class Model:
    """A MarianMT model with its tokenizer."""

    def __init__(self, folder: Path) -> None:
        warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")  # never used
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._tokenizer: Any = transformers.MarianTokenizer.from_pretrained(
            folder, local_files_only=True
        )
        model: Any = transformers.MarianMTModel.from_pretrained(
            folder, local_files_only=True, dtype="float32", weights_only=True
        )
        self._model = model.eval()
        own = (self._tokenizer.model_max_length, model.config.max_position_embeddings, LONGEST)
        self._longest = int(min(own))

    def _fits(self, text: str) -> bool:
        return len(self._tokenizer(text, verbose=False).input_ids) <= self._longest

    def parts(self, text: str) -> list[str]:
        """Return a sentence in parts that the model can read, to be translated one by one."""
        return list(filter(None, cut(text.strip(), self._fits)))

    def translated(self, text: str) -> str:
        """Return the translation of one part.

        Raises:
            Endless: it is cut off where the model can write no more.
        """
        import torch

        given = self._tokenizer([text], return_tensors="pt")
        with torch.inference_mode():
            made = self._model.generate(
                **given,
                do_sample=False,
                num_beams=self._model.generation_config.num_beams or BEAMS,
                max_length=self._longest,
                max_new_tokens=None,
            )
        if len(made[0]) >= self._longest:  # its last token may be an end that was forced
            raise Endless(f"the translation is cut off after {self._longest} tokens")
        found: str = self._tokenizer.decode(made[0], skip_special_tokens=True)
        return " ".join(found.split())


def serve(orders: IO[str], answers: IO[str]) -> None:
    """Answer orders until there are no more. Models stay loaded."""
    models: dict[str, Model] = {}

    def say(answer: dict[str, object]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    for line in orders:
        order = json.loads(line)
        folder, made = order["folder"], list[str]()
        try:
            if folder not in models:
                models[folder] = Model(Path(folder))
            for part in models[folder].parts(order["text"]):
                made.append(models[folder].translated(part))
                say({"done": len(made)})
            say({"text": " ".join(filter(None, made))})
        except Endless as error:
            say({"unfit": str(error)})
        except Exception as error:  # the files may be wrong in any way
            kind = "error" if folder in models else "not_loaded"
            say({kind: f"{type(error).__name__}: {error}"})


def main() -> None:
    """Serve the daemon that started this process."""
    os.nice(NICENESS)
    logging.disable(logging.WARNING)  # the libraries' warnings are for programmers
    import torch

    torch.set_num_threads(THREADS)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    with contextlib.suppress(BrokenPipeError):  # the daemon was killed
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
