"""What is rendered next: which job, which prompts in one batch, whose turn, where, what waits.

Pure: no I/O and no clock of its own. Does not know files, the spool or the renderer.

`schedule` decides, from a `view` to one of the `decisions`. It asks `models` which models stay
loaded, and `placing` which renderer takes what. `turns` orders what waits, `night` knows the hours,
and `retries` when jobs in trouble are tried again.
"""
