"""The daemon: one loop, what is rendered next, the open jobs, the renderer's workbench.

Knows every stage, and ties them together. Does not know the commands.
"""
