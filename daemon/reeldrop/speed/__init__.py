"""Optimizations: render the same frames in less time; with lossy ones, if a profile asks for them.

Each is applied to a loaded pipeline and is optional. Knows nothing of prompts or jobs.
"""
