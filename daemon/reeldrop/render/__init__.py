"""Load a diffusers pipeline; turn a batch of prompts into frames within the memory there is.

Knows nothing of folders, prompt files or encoding.
"""
