"""Measure which optimizations of `speed` pay on a device, and keep the findings.

Does not know the service: it renders by itself while no daemon runs.

`tuning` tries the settings, `likeness` compares their frames, `tuned` is the file of findings.
"""
