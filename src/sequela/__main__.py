"""`python -m sequela` is the command `sequela`."""

from sequela.cli import main

main()
