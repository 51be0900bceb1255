"""What the machine is told and tells: log, systemd, the trace of an ended process, room on disks.

Knows nothing of prompt files or jobs.
"""
