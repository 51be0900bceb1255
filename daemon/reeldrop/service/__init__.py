"""The daemon: its loop, the open jobs, the renderer's workbench, and what feeds it.

Knows and connects all stages. Does not know the commands.
"""
