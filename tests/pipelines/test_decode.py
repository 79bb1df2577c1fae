import numpy as np
import pytest

from pipelines.decode import decode_flow, decode_rgb
from preprocess.errors import BadShard
from preprocess.shards import ShardSet
from tests.pipelines.tiny_shards import LEVELS, encode, flat_clip, write_set


def test_frame_and_flow_are_those_of_the_number(shards):
    clips = ShardSet(shards, "test")
    frame = decode_rgb(clips, clip=2, frame=11)
    u, v = decode_flow(clips, clip=2, frame=11)
    assert frame.shape == (48, 64, 3)
    assert u.shape == v.shape == (48, 64)
    assert np.abs(frame - LEVELS * 11.0).max() <= 2
    assert np.abs(u - 139.0).max() <= 1
    assert np.abs(v - 106.0).max() <= 1


def test_channels_are_red_first(tmp_path):
    clip = flat_clip("red", label=0, frames=2)
    clip.rgb[0] = encode(np.full((48, 64, 3), (0, 0, 255), np.uint8))
    clips = ShardSet(write_set(tmp_path, {"val": [[clip]]}), "val")
    assert decode_rgb(clips, clip=0, frame=0)[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_other_size_than_the_table_says_fails(tmp_path):
    clip = flat_clip("tall", label=0, frames=3)
    clip.flow[1] = encode(np.full((48, 64), 128, np.uint8))
    clips = ShardSet(write_set(tmp_path, {"val": [[clip]]}), "val")
    with pytest.raises(BadShard, match="clip tall: flow frame 1 has 48x64 pixels, expected 96x64") as caught:
        decode_flow(clips, clip=0, frame=1)
    assert "(--on-bad-shard skip, in Python on_bad_shard='skip')" in str(caught.value)
