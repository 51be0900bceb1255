"""Exchange with the machine: logs, systemd, the trace of a dead process, free disk space.

Knows nothing of prompt files or jobs.

`log` writes to stdout and to the file of a job, `journal` to systemd's; `notify` reports to
systemd. `ending` detects hangs and leaves the trace, `disk` watches the file systems, and `process`
prepares a process.
"""
