"""`python -m reeldrop` is `reeldrop`."""

from reeldrop.cli import main

main()
