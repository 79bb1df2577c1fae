import numpy as np
import pytest

from pipelines.input_sheet import input_sheet
from pipelines.sheet import CAPTION, GAP, HEADER, MARGIN, TILE_HEIGHT
from preprocess.errors import InvalidInput
from preprocess.flow_color import flow_to_color
from tests.pipelines.small_loader import open_small
from tests.pipelines.tiny_shards import encoded_clip, ramp_clip, write_set

WHOLE = TILE_HEIGHT * 64 // 48
"""Pixels that the whole frame takes to the left of the windows."""


@pytest.fixture
def ramps(tmp_path):
    """Frames and flow brighten to the right by 2 codes a pixel, from 64."""
    return write_set(tmp_path, {"train": [[ramp_clip(f"ramp{n}") for n in range(6)]]})


def tile(sheet, *, column: int, below: bool):
    top = MARGIN + HEADER + below * (TILE_HEIGHT + CAPTION)
    left = MARGIN + WHOLE + GAP + column * (TILE_HEIGHT + GAP)
    return sheet[top : top + TILE_HEIGHT, left : left + TILE_HEIGHT].astype(int)


def test_frames_are_drawn_after_crop_and_flip(ramps):
    loader = open_small(ramps, "torch", batch_size=1)
    flips = set()
    for position in range(6):
        plans, batch = loader.at(0, [position])
        sheet = input_sheet(loader, plans, batch, epoch=0, columns=3)
        left = plans[0].corners[0][1]
        codes = 64 + 2 * (left + np.array([0, 31]))
        if plans[0].flip:
            codes = codes[::-1]
        drawn = tile(sheet, column=2, below=False)[TILE_HEIGHT // 2, [4, -5], 0]
        assert np.abs(drawn - codes).max() <= 4
        flips.add(plans[0].flip)
    assert flips == {True, False}


def test_flow_is_drawn_after_the_flip(tmp_path):
    to_the_right = np.repeat(np.array([[191], [128]], np.uint8), 48, 0).repeat(64, 1)
    frame = np.full((48, 64, 3), 90, np.uint8)
    clips = [encoded_clip(f"right{n}", label=0, rgb=[frame] * 9, flow=[to_the_right] * 8) for n in range(6)]
    loader = open_small(write_set(tmp_path, {"train": [clips]}), "torch", batch_size=1)
    seen = {}
    for position in range(6):
        plans, batch = loader.at(0, [position])
        seen[plans[0].flip] = tile(input_sheet(loader, plans, batch, epoch=0), column=1, below=True)[90, 90]
    right, left = flow_to_color(np.array([[[[10.0]], [[0.0]]], [[[-10.0]], [[0.0]]]]), max_magnitude=10)[:, 0, 0]
    assert np.abs(seen[False] - right).max() <= 3
    assert np.abs(seen[True] - left).max() <= 3


def test_whole_frame_has_the_crop_outlined(ramps):
    loader = open_small(ramps, "torch", batch_size=1, training=False, split="train")
    sheet = input_sheet(loader, *loader.at(0, [0]), epoch=0)
    whole = sheet[MARGIN + HEADER :][:TILE_HEIGHT, MARGIN : MARGIN + WHOLE].astype(int)
    red = (whole[..., 0] - whole[..., 1]) > 100
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    scale = TILE_HEIGHT / 48
    assert np.abs(np.array([rows[0], rows[-1]]) / scale - [8, 40]).max() <= 1.5
    assert np.abs(np.array([columns[0], columns[-1]]) / scale - [16, 48]).max() <= 1.5


def test_no_columns_fails(ramps):
    loader = open_small(ramps, "torch")
    with pytest.raises(InvalidInput, match="columns is 0"):
        input_sheet(loader, *loader.at(0, [0]), epoch=0, columns=0)


def test_one_stream_alone_fails(ramps):
    loader = open_small(ramps, "torch", streams=("rgb",))
    with pytest.raises(InvalidInput, match="open the loader with streams="):
        input_sheet(loader, *loader.at(0, [0]), epoch=0)


def test_whole_clips_of_different_lengths_make_no_batch(shards):
    loader = open_small(shards, "torch", split="test", training=False, frames=None, batch_size=1)
    with pytest.raises(InvalidInput, match="ask for one position"):
        loader.at(0, [0, 1])
