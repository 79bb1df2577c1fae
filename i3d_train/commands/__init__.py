"""The subcommands of `i3d_train`, one file each.

They import what they need when they run: --help must not wait for PyTorch.
"""
