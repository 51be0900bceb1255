"""The exit codes of commands, after sysexits.h; 70 is that of a daemon that hangs."""

FAILED = 1
"""A job failed (`run --drain`, `submit --wait`), or an unexpected error."""

USAGE = 2
NOT_NOW = 75
"""Something is unavailable now, or another process has locked the spool."""

CONFIG = 78
"""The configuration stays wrong until somebody changes it."""
