import math

import pytest

from pipelines.views import crop_corners, window_start


@pytest.mark.parametrize(
    ("free", "count", "starts"),
    [
        (186, 1, [93]),
        (186, 2, [0, 186]),
        (186, 10, [0, 20, 41, 62, 82, 103, 124, 144, 165, 186]),
        (3, 10, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]),
        (0, 3, [0, 0, 0]),
        (-5, 3, [0, 0, 0]),
    ],
)
def test_windows_reach_from_end_to_end(free, count, starts):
    assert [window_start(free, number=number, count=count) for number in range(count)] == starts


def test_one_crop_is_the_centre():
    assert crop_corners(256, 340, side=224, count=1) == ((16, 58),)


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [
        (256, 340, ((16, 0), (16, 58), (16, 116))),
        (340, 256, ((0, 16), (58, 16), (116, 16))),
        (256, 256, ((16, 0), (16, 16), (16, 32))),
        (224, 224, ((0, 0), (0, 0), (0, 0))),
    ],
)
def test_three_crops_lie_along_the_longer_side(height, width, corners):
    assert crop_corners(height, width, side=224, count=3) == corners


def slowfast_corner(height, width, *, side, shift):
    """The offsets of SlowFast's `uniform_crop`, restated from its description: ceil of the half, ends at the ends."""
    top, left = math.ceil((height - side) / 2), math.ceil((width - side) / 2)
    if height > width:
        return {0: 0, 1: top, 2: height - side}[shift], left
    return top, {0: 0, 1: left, 2: width - side}[shift]


@pytest.mark.parametrize("size", [(256, 340), (256, 455), (257, 341), (345, 256), (256, 256)])
def test_crops_are_those_of_slowfast_but_for_half_pixels(size):
    for shift, (top, left) in enumerate(crop_corners(*size, side=224, count=3)):
        theirs = slowfast_corner(*size, side=224, shift=shift)
        assert theirs[0] - top in {0, (size[0] - 224) % 2}
        assert theirs[1] - left in {0, (size[1] - 224) % 2}
