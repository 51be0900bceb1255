"""What people type, and what they are shown.

Works on the folders; talks to a running daemon only by files and signals.
"""
