import cv2
import numpy as np
import pytest

from preprocess.errors import BadShard
from preprocess.flow_color import flow_to_color
from preprocess.report.pictures import PICTURE_HEIGHT, draw_picture
from preprocess.shards import ShardSet
from tests.preprocess.report.shard_sets import clip, picture, uniform, write_set


def drawn(folder, *clips):
    shards = ShardSet(write_set(folder, {"train": [list(clips)]}), "train")
    return [draw_picture(shards, row) for row in range(len(clips))]


def test_full_colour_is_the_speed_of_most_and_not_of_the_fastest_pixel(tmp_path):
    field = uniform(3, 0)
    field[0, 10, 10] = 19
    (found,) = drawn(tmp_path, clip("a", flow=[field] * 3))
    assert found.full_px == 4
    pixels = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels.shape == (PICTURE_HEIGHT, found.width, 3)
    expected = flow_to_color(uniform(3, 0), max_magnitude=4)[0, 0]
    assert np.abs(np.median(pixels[:, -60:].reshape(-1, 3), axis=0) - expected).max() < 8


def test_the_noise_of_a_still_clip_stays_pale(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 48, 64)).astype(np.float32)
    (found,) = drawn(tmp_path, clip("a", flow=[noise] * 3))
    assert found.full_px == 1


def test_frame_and_flow_are_of_the_same_moment_in_the_middle(tmp_path):
    flow = [uniform(-9, 0), uniform(0, 9), uniform(9, 0)]
    frames = [picture(5, color=color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 0))]
    (found,) = drawn(tmp_path, clip("a", flow=flow, rgb=frames))
    pixels = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels[:, :120].mean(axis=(0, 1)).argmax() == 1
    expected = flow_to_color(flow[1], max_magnitude=9)[0, 0]
    assert np.abs(np.median(pixels[:, -60:].reshape(-1, 3), axis=0) - expected).max() < 8


@pytest.mark.parametrize("at", [0, 1])
def test_a_clip_that_cannot_be_decoded_has_none(tmp_path, at):
    made = clip("a", flow=[uniform(1, 0)] * 3)
    broken = type(made)(**{**made.__dict__, ("rgb", "flow")[at]: [b"no JPEG"] * (4 - at)})
    with pytest.raises(BadShard):
        drawn(tmp_path, broken)
