import numpy as np
import pytest

from pipelines.contact_sheet import contact_sheet, sheet_size
from pipelines.sheet import CAPTION, HEADER, MARGIN, TILE_HEIGHT
from preprocess.errors import InvalidInput
from preprocess.shards import ShardSet
from tests.pipelines.tiny_shards import LEVELS


def test_sheet_has_the_promised_size(shards):
    clips = ShardSet(shards, "val")
    for clip in range(len(clips)):
        sheet = contact_sheet(clips, clip=clip, columns=5)
        assert sheet.shape == (*sheet_size(clips, clip=clip, columns=5), 3)
        assert sheet.dtype == np.uint8


def test_frames_are_evenly_spread_over_their_flow(shards):
    # flat frames: the middle of a tile is the frame's level
    sheet = contact_sheet(ShardSet(shards, "test"), clip=2, columns=3)
    width = TILE_HEIGHT * 64 // 48
    middle = MARGIN + HEADER + TILE_HEIGHT // 2
    levels = [sheet[middle, MARGIN + column * (width + 10) + width // 2, 0] for column in range(3)]
    assert np.abs(np.array(levels) - LEVELS * np.array([0, 19, 38])).max() <= 2
    # the flow below them has u > 0 and v < 0, between red and magenta, and grows
    flow = [sheet[middle + TILE_HEIGHT + CAPTION, MARGIN + column * (width + 10) + width // 2] for column in range(3)]
    assert flow[0].tolist() == [255, 255, 255]
    assert flow[2][1] < flow[1][1] < 255


def test_clip_shorter_than_the_columns_shows_what_it_has(shards):
    clips = ShardSet(shards, "test")
    assert sheet_size(clips, clip=1, columns=30) == sheet_size(clips, clip=1, columns=6)


def test_clip_beyond_the_last_fails(shards):
    with pytest.raises(InvalidInput, match="clip 3 does not exist; split 'test' has clips 0 to 2"):
        contact_sheet(ShardSet(shards, "test"), clip=3)


def test_no_columns_fails(shards):
    with pytest.raises(InvalidInput, match="columns is 0"):
        contact_sheet(ShardSet(shards, "test"), clip=0, columns=0)
