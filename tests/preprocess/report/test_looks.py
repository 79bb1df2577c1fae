import cv2
import numpy as np

from preprocess.report.looks import look_hash, same_looks
from tests.preprocess.report.shard_sets import picture


def frames(seed):
    return [picture(seed + number) for number in range(3)]


def test_recoded_scaled_and_brightened_clips_look_the_same():
    changed = [
        cv2.imdecode(cv2.imencode(".jpg", cv2.resize(one, (80, 60)), [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1) + 9
        for one in frames(0)
    ]
    hashes = np.stack([look_hash(frames(0)), look_hash(frames(50)), look_hash(changed), look_hash(frames(90))])
    assert same_looks(hashes) == [[0, 2]]


def test_one_other_frame_makes_another_clip():
    hashes = np.stack([look_hash(frames(0)), look_hash([*frames(0)[:2], picture(77)])])
    assert same_looks(hashes) == []


def test_a_group_has_all_of_its_clips():
    hashes = np.stack([look_hash(frames(seed)) for seed in (0, 50, 0, 50, 0)])
    assert same_looks(hashes) == [[0, 2, 4], [1, 3]]


def test_twelve_bits_in_all_are_near():
    first, near, other = [0, 0, 0], [0b1111, 0b1111, 0b1111], [0b1111, 0b11111, 0b1111]
    assert same_looks(np.array([first, near], np.uint64)) == [[0, 1]]
    assert same_looks(np.array([first, other], np.uint64)) == []


def test_plain_pictures_and_few_frames_have_no_hash():
    plain = np.full((48, 64, 3), 128, np.uint8)
    assert len(look_hash([*frames(0)[:2], plain])) == 0
    assert len(look_hash(frames(0)[:2])) == 0
    assert look_hash(frames(0)).dtype == np.uint64
