"""The shard contract: one decode of a clip as JPEG frames and JPEG flow, columnar, write-once HDF5.

Imports numpy, h5py and the standard library only, so that reading a shard needs neither Ray, OpenCV, torch nor DALI.
"""

from preprocess.shards.index import Index, ShardInfo
from preprocess.shards.layout import ClipTable, EncodedClip, ShardAttributes
from preprocess.shards.read import Shard, ShardSet
from preprocess.shards.store import ShardStore

__all__ = ["ClipTable", "EncodedClip", "Index", "Shard", "ShardAttributes", "ShardInfo", "ShardSet", "ShardStore"]
