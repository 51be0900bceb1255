"""The inbox: when it is scanned, which names are ignored, which files are settled, why others wait.

Moves prompt files into the spool, and tells those that order nothing. Does not know what is
rendered, nor in which batch.
"""
