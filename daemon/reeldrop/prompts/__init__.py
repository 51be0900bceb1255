"""Turn the bytes of a prompt file into resolved prompts, and check them by the profile's rules.

Words the messages about mistakes in prompt files. Pure: opens no file, knows no pipeline.
"""
