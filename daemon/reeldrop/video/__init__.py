"""Encode frames into video files with metadata and publish them, while the next batch renders.

It does not know where frames come from.
"""
