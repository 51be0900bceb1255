"""Ways to render the same frames in less time, and lossy ways where a profile asks for them.

Each is put onto a loaded pipeline and can be left out. Knows nothing of prompts or jobs.
"""
