"""Load diffusers pipelines, and render batches of prompts to frames within the free memory.

Knows nothing of folders, prompt files or encoding.
"""
