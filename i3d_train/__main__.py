"""`python -m i3d_train` is the `i3d_train` command."""

from i3d_train.cli import main

main(prog_name="i3d_train")
