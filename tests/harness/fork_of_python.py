"""Started in place of Python, as by pytest-xdist: becomes a fork of the zygote of the test run.

A fork has already imported what the tests need. This process exits with the fork's exit code.
"""

from __future__ import annotations

import os
import sys

from zygote import ADDRESS, Zygote

if __name__ == "__main__":
    _worker = Zygote.shared(os.environ[ADDRESS]).run([sys.executable, *sys.argv[1:]], (0, 1, 2))
    sys.exit(_worker.wait())
