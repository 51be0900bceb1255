"""Stands for Python where pytest-xdist starts it: a worker is a fork of the tests' zygote.

It has then imported what the tests need. This process ends as the fork does.
"""

from __future__ import annotations

import os
import sys

from zygote import ADDRESS, Zygote

if __name__ == "__main__":
    _worker = Zygote.shared(os.environ[ADDRESS]).run([sys.executable, *sys.argv[1:]], (0, 1, 2))
    sys.exit(_worker.wait())
