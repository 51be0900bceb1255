"""The command line: commands, their output and their exit codes.

Each command has a module of its name; `cli` has their arguments. They work on the folders, and talk
to a running daemon only through files and signals.
"""
