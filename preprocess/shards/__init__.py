"""The shard contract: one decode of a clip as JPEG frames and JPEG flow, columnar, write-once HDF5.

Imports numpy, h5py and the standard library only, so that reading a shard needs neither Ray, OpenCV, torch nor DALI.
"""

import os

# HDF5 would look for the library of a filter that it does not know, and run it, as soon as a file names one. Shards
# have no filters. HDF5 asks for this once, before its first use; what the user has set stays.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

from preprocess.shards.index import Index, ShardInfo
from preprocess.shards.layout import ClipTable, EncodedClip, ShardAttributes
from preprocess.shards.read import Shard, ShardSet
from preprocess.shards.store import ShardStore

__all__ = ["ClipTable", "EncodedClip", "Index", "Shard", "ShardAttributes", "ShardInfo", "ShardSet", "ShardStore"]
