"""Encode frames into video files with metadata, and publish them while the next batch renders.

Does not know where the frames come from.
"""
