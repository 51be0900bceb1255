"""The inbox: when it is scanned, which names are ignored, which files are settled, why others wait.

Moves prompt files into the spool, and recognises those that ask for no render. Does not know what
is rendered, nor in which batch.
"""
