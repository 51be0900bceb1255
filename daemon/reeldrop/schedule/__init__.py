"""What is rendered next: which job, which prompts in one batch, whose turn, where, what waits.

Pure: no I/O and no clock of its own. Does not know files, the spool or the renderer.
"""
