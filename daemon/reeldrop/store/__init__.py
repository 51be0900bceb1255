"""Where jobs and videos lie: the spool, the results tree, `_failed/`; what is read back from them.

Does not know what a prompt file says, how a video is made, or what is rendered next.
"""
