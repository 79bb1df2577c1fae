"""Kinetics to RGB frames and TV-L1 optical flow, once, in sharded HDF5.

See `preprocess --help` for the commands; `preprocess.flow` and `preprocess.shards` are the library's front doors.
"""
