"""The command line: commands, their output and their exit codes.

It works on the folders, and talks to a running daemon only through files and signals.
"""
