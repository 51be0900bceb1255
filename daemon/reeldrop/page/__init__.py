"""What people see who have only the results: STATUS.txt, written from the daemon's status.

A thread of its own writes, so that nothing else waits for a slow disk. Nothing depends on it.
"""
