"""The subcommands of `preprocess`, one file each.

They import what they need when they run: --help must not wait for OpenCV, Ray or CUDA.
"""
