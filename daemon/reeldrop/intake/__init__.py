"""The inbox: when it is scanned, which names are ignored, what has settled, why files wait.

Takes prompt files into the spool. Does not know what is rendered, nor in which batch.
"""
