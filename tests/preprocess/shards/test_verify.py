import hashlib

import pytest

from preprocess.errors import BadShard
from preprocess.shards import Shard
from preprocess.shards.index import ShardInfo
from preprocess.shards.verify import verify_shard
from preprocess.shards.write import write_shard
from tests.preprocess.shards.conftest import encoded_clip


@pytest.fixture
def written(shard_path, clips, attributes):
    write_shard(shard_path, clips, attributes)
    return shard_path


def test_good_shard_passes(written):
    head, info = verify_shard(written)
    content = written.read_bytes()
    assert len(head.clips) == 3
    digest = hashlib.sha256(content).hexdigest()
    assert info == ShardInfo(name=written.name, bytes=len(content), sha256=digest, clips=3)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_one_flipped_byte_names_the_clip(written, clips, stream):
    content = bytearray(written.read_bytes())
    place = content.index(getattr(clips[1], stream)[1]) + 50
    content[place] ^= 1
    written.write_bytes(content)
    Shard(written)  # HDF5 itself does not notice
    with pytest.raises(BadShard, match=f"clip clip_1: {stream} has CRC-32"):
        verify_shard(written)


def test_what_is_no_jpeg_fails(shard_path, attributes):
    clip = encoded_clip("x")
    clip.rgb[2] = b"not a jpeg"
    with pytest.raises(BadShard, match="clip x: rgb frame 2 is not a whole JPEG"):
        write_shard(shard_path, [clip], attributes)


def test_repeated_key_fails(shard_path, clips, attributes):
    with pytest.raises(BadShard, match="a clip key occurs twice"):
        write_shard(shard_path, [clips[0], clips[0]], attributes)
