"""`python -m reeldrop` is `reeldrop`."""

from reeldrop.commands.cli import main

main()
