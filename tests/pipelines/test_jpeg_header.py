import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.jpeg_header import HeaderCheck
from preprocess.shards.jpeg import read_jpeg_header
from tests.pipelines.tiny_shards import encode


def picture(height=48, width=64, seed=0):
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), (0, 0), 1)


GOOD = encode(picture())


def fault(content: bytes, **wanted):
    return HeaderCheck().fault(
        np.frombuffer(content, np.uint8), **{"stream": "rgb", "height": 48, "width": 64, **wanted}
    )


@pytest.mark.parametrize(("height", "width"), [(48, 64), (1, 1), (333, 500)])
@pytest.mark.parametrize(
    "options",
    [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_OPTIMIZE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]],
)
def test_what_opencv_writes_passes(height, width, options):
    content = cv2.imencode(".jpg", picture(height, width), options)[1].tobytes()
    assert fault(content, height=height, width=width) is None


def test_gray_is_a_jpeg_too():
    assert fault(encode(picture()[..., 0])) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a whole JPEG"),
        (GOOD[:-1], "is not a whole JPEG"),
        (b"\xff\xd8" + bytes(40) + b"\xff\xd9", "is not a JPEG"),
        (b"\xff\xd8\xff\xd9", "is not a JPEG"),
        (b"\x00" + GOOD[1:], "is not a JPEG"),
        (GOOD[:200] + b"\xff\xd9", "is not a JPEG"),
        (encode(picture(24, 64)), "has 24x64 pixels"),
        (cv2.imencode(".png", picture())[1].tobytes() + b"\xff\xd9", "is not a JPEG"),
    ],
)
def test_what_cannot_be_one_is_told(content, message):
    assert fault(content) == message


def test_four_colours_which_decoders_mix_each_in_their_way_are_told():
    at = read_jpeg_header(GOOD).frame_at
    sizes, three = GOOD[at + 4 : at + 9], GOOD[at + 10 : at + 19]
    frame = b"\xff\xc0" + (20).to_bytes(2) + sizes + b"\x04" + three + b"\x04\x11\x01"
    assert fault(GOOD[:at] + frame + GOOD[at + 19 :]) == "has 4 colour components"


def test_known_header_does_not_excuse_another_size():
    check = HeaderCheck()
    small = np.frombuffer(encode(picture(24, 64)), np.uint8)
    for _ in range(2):
        assert check.fault(np.frombuffer(GOOD, np.uint8), stream="rgb", height=48, width=64) is None
        assert check.fault(small, stream="rgb", height=24, width=64) is None
        assert check.fault(small, stream="rgb", height=48, width=64) == "has 24x64 pixels"
        assert check.fault(small, stream="flow", height=48, width=64) == "has 24x64 pixels"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 30))
def test_damaged_bytes_never_surprise(place, value, cut):
    content = bytearray(GOOD)
    content[place] = value
    del content[place + 1 : place + 1 + cut]
    found = fault(bytes(content))
    assert found in {None, "is not a JPEG", "is not a whole JPEG"} or found.endswith(("pixels", "colour components"))


def test_picture_that_opencv_refuses_is_a_fault(monkeypatch):
    def refuses(*_):
        raise cv2.error("too many pixels")

    monkeypatch.setattr(cv2, "imdecode", refuses)
    assert fault(GOOD) == "fails in OpenCV: too many pixels"
