from dataclasses import replace

import numpy as np
import pytest

from preprocess.errors import BadShard
from preprocess.report.frames import decode_blocks, decode_codes, decode_rgb, spaced
from preprocess.shards import ShardSet
from tests.preprocess.report.shard_sets import HEIGHT, WIDTH, clip, uniform, write_set


@pytest.fixture
def shards(tmp_path):
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[..., 0] = 200
    flow = [uniform(5, -2.5)] * 2
    return ShardSet(write_set(tmp_path, {"train": [[clip("a", flow=flow, rgb=[red] * 3)]]}), "train")


def test_spaced():
    assert spaced(1, 8) == [0]
    assert spaced(9, 1) == [4]
    assert spaced(1000, 3) == [166, 500, 833]


def test_frames_are_half_as_large_and_red_first(shards):
    (picture,) = decode_rgb(shards, clip=0, frames=[1])
    assert picture.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert np.abs(picture.reshape(-1, 3).mean(axis=0) - [200, 0, 0]).max() < 3


def test_flow_is_u_before_v_in_px(shards):
    codes = np.stack(decode_codes(shards, clip=0, frames=[0, 1]))
    assert codes.shape == (2, 2, HEIGHT, WIDTH)
    assert np.abs(shards.attributes.to_flow(codes).mean(axis=(0, 2, 3)) - [5, -2.5]).max() < 0.1


def test_blocks_are_of_all_fields(shards):
    blocks = decode_blocks(shards, clip=0)
    assert [block.shape for block in blocks] == [(2 * HEIGHT // 8, WIDTH // 8)] * 2
    assert np.abs(blocks[0][:6].astype(int) - 160).max() <= 1


def test_what_is_no_jpeg_of_the_right_size_is_not_decoded(tmp_path):
    made = clip("a", flow=[uniform(0, 0)] * 2, rgb=[np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)] * 3)
    made = replace(made, rgb=[*made.rgb[:2], b"no JPEG"], height=HEIGHT, width=WIDTH)
    shards = ShardSet(write_set(tmp_path, {"train": [[made]]}), "train")
    for frame in (1, 2):
        with pytest.raises(BadShard, match=f"rgb frame {frame} is no whole JPEG of 48x64 pixels"):
            decode_rgb(shards, clip=0, frames=[frame])
