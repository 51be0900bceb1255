"""Translate prompts that a model's text encoder can't read, on the CPU beside the renders.

Knows texts and languages; does not know jobs, nor what the texts are used for.

`detection` recognises the language of a text; `source` gets the files of a translator; `sentences`
cuts texts into parts short enough for it. `worker` is the process that translates, `process` starts
and watches it. `by_sentence` translates a text with it, weights included, and `made` checks what
comes of it; `orders` has what waits; `translator` is the thread that gives it texts, and remembers
the translations.
"""
