"""`python -m preprocess` is the `preprocess` command."""

from preprocess.cli import main

main()
