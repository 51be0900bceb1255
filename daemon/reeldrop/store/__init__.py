"""Store jobs and videos, and read them back: the spool, the results tree, `_failed/`.

Does not know what a prompt file says, how a video is made, or what is rendered next.
"""
