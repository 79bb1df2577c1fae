import cv2
import numpy as np
import pytest

from preprocess.shards.jpeg import read_jpeg_header

PICTURE = np.random.default_rng(0).integers(0, 256, (333, 500, 3), np.uint8)
GOOD = cv2.imencode(".jpg", PICTURE)[1].tobytes()
SEGMENT = b"\x00\x04ab"


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (333, 500)])
@pytest.mark.parametrize(
    "options",
    [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_OPTIMIZE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]],
)
@pytest.mark.parametrize("gray", [True, False])
def test_header_says_what_was_encoded(size, options, gray):
    picture = PICTURE[: size[0], : size[1], 0] if gray else PICTURE[: size[0], : size[1]]
    content = cv2.imencode(".jpg", picture, options)[1].tobytes()
    found = read_jpeg_header(content)
    assert (found.height, found.width, found.components) == (*size, 1 if gray else 3)
    assert content[found.frame_at] == 0xFF
    assert read_jpeg_header(content[: found.end]) == found
    assert read_jpeg_header(content[: found.end - 1]) is None


def test_sampling_is_that_of_the_first_component():
    colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    assert read_jpeg_header(GOOD).sampling == 0x22
    assert read_jpeg_header(cv2.imencode(".jpg", PICTURE, colour)[1].tobytes()).sampling == 0x11


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:2],
        b"\x00" + GOOD[1:],
        cv2.imencode(".png", PICTURE)[1].tobytes(),
        GOOD[:2] + b"\xff\xe1" + SEGMENT + GOOD[2:],
        GOOD[:2] + b"\xff\xfe\x00\x01" + GOOD[2:],
    ],
    ids=["nothing", "start alone", "no start", "png", "exif", "segment shorter than its length"],
)
def test_what_is_no_header_of_ours_has_none(content):
    assert read_jpeg_header(content) is None


def test_second_frame_header_and_other_sample_sizes_are_refused():
    at = read_jpeg_header(GOOD).frame_at
    frame = GOOD[at : at + 2 + int.from_bytes(GOOD[at + 2 : at + 4])]
    assert read_jpeg_header(GOOD[:at] + frame + GOOD[at:]) is None
    assert read_jpeg_header(GOOD[: at + 4] + b"\x0c" + GOOD[at + 5 :]) is None
