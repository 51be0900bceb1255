"""From the bytes of a prompt file to resolved prompts, and what a profile allows in them.

Messages about mistakes in prompt files are worded here. Pure: reads no file, knows no pipeline.
"""
