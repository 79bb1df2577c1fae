import subprocess
import sys

import numpy as np
import pytest

from preprocess.errors import InvalidInput
from preprocess.shards import EncodedClip, Shard, ShardAttributes
from preprocess.shards.write import shard_image, write_shard


def test_what_is_written_comes_back(shard_path, clips, attributes):
    write_shard(shard_path, clips, attributes)
    shard = Shard(shard_path)
    assert shard.attributes == attributes
    for row, clip in enumerate(clips):
        for stream in ("rgb", "flow"):
            first = getattr(shard.clips, f"{stream}_first")[row]
            jpegs = [shard.jpeg(stream, first + i).tobytes() for i in range(len(getattr(clip, stream)))]
            assert jpegs == getattr(clip, stream)
        assert shard.clips.key[row].decode() == clip.key
        assert shard.clips.label[row] == clip.label
        assert (shard.clips.time_start[row], shard.clips.time_end[row]) == (1.0, 11.0)


def test_same_clips_same_bytes_in_another_process(shard_path, clips, attributes):
    write_shard(shard_path, clips, attributes)
    script = """
import sys
from preprocess.shards import ShardAttributes
from preprocess.shards.write import shard_image
from tests.preprocess.shards.conftest import encoded_clip
clips = [encoded_clip(f"clip_{i}", frames=3 + i, label=i - 1, seed=i) for i in range(3)]
tvl1 = {"backend": "opencv", "tau": 0.25}
attributes = ShardAttributes(labels=("surfing", "yoga"), tvl1=tvl1, failed={"lost": "no video"})
sys.stdout.buffer.write(shard_image(clips, attributes))
"""
    root = __file__.split("/tests/", maxsplit=1)[0]
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=root)
    assert run.stdout == shard_path.read_bytes()


def test_info_tells_the_file(shard_path, clips, attributes):
    import hashlib

    info = write_shard(shard_path, clips, attributes)
    content = shard_path.read_bytes()
    assert (info.name, info.bytes, info.clips) == (shard_path.name, len(content), 3)
    assert info.sha256 == hashlib.sha256(content).hexdigest()
    assert info.split == "train"


def test_no_clips_make_an_empty_shard(shard_path, attributes):
    write_shard(shard_path, [], attributes)
    assert len(Shard(shard_path)) == 0


def test_large_streams_are_written_in_runs(clips, attributes):
    big = EncodedClip(
        key="big",
        label=0,
        rgb=[b"\xff\xd8" + bytes([i]) * (3 << 20) + b"\xff\xd9" for i in range(8)],
        flow=clips[0].flow[:1] * 7,
        height=32,
        width=40,
        time_start=0,
        time_end=1,
    )
    image = bytes(shard_image([big], attributes))
    assert b"".join(big.rgb) in image


@pytest.mark.parametrize(("rgb", "flow"), [(1, 0), (3, 3), (3, 1)])
def test_wrong_counts_fail(rgb, flow):
    with pytest.raises(InvalidInput, match=f"clip x has {rgb} frames and {flow} flows"):
        EncodedClip(key="x", label=0, rgb=[b""] * rgb, flow=[b""] * flow, height=1, width=1, time_start=0, time_end=1)


def test_labels_beyond_what_hdf5_holds_fail():
    labels = tuple(f"label number {i}" for i in range(5000))
    with pytest.raises(InvalidInput, match="shard attribute 'labels' takes"):
        shard_image([], ShardAttributes(labels=labels))


def test_the_two_offsets_rise_together(shard_path, clips, attributes):
    write_shard(shard_path, clips, attributes)
    shard = Shard(shard_path)
    assert np.array_equal(shard.clips.flow_count, shard.clips.rgb_count - 1)
    assert shard.clips.rgb_first.tolist() == [0, 3, 7]
    assert shard.clips.flow_first.tolist() == [0, 2, 5]
