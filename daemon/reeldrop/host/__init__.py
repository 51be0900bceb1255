"""Exchange with the machine: logs, systemd, the trace of an ended process, room on disks.

Knows nothing of prompt files or jobs.
"""
