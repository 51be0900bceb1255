"""What people see who have only the results: STATUS.txt and a gallery of all videos.

A thread of its own writes, so that nothing else waits for a slow disk. Nothing depends on it.
"""
