"""The inbox: when it is scanned, which names are ignored, which files are settled, why others wait.

Moves prompt files into the spool. Does not know what is rendered, nor in which batch.
"""
