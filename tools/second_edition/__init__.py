"""The second edition of the bundled model: its world, its two languages, its training, its judge.

It replaces `bundled_model` once it is trained; until then nothing of the product uses it.
"""
