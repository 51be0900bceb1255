"""Exchange with the machine: logs, systemd, the trace of a dead process, free disk space.

Knows nothing of prompt files or jobs.
"""
