"""Translate prompts that a model's text encoder can't read, on the CPU beside the renders.

Knows texts and languages; does not know jobs, nor what becomes of the texts.

`detection` says which language a text is in; `source` where the translator of a language comes
from, and gets its files; `sentences` cuts texts into parts that a translator reads whole. `worker`
is the process that translates, `process` its other end here; `translator` is the thread that asks
it, keeps what was translated, and watches over it.
"""
