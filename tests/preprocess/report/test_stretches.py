import numpy as np
import pytest

from preprocess.report.stretches import find_stretches, is_still, longest_run

SCALE = 127 / 20


@pytest.mark.parametrize(("text", "longest"), [("", 0), ("..", 0), ("x", 1), ("x.xx", 2), ("xxx.xx", 3), (".xxxx", 4)])
def test_longest_run(text, longest):
    assert longest_run([letter == "x" for letter in text]) == longest


def blocks(*, moving, code):
    found = np.full(1000, 128, np.uint8)
    found[:moving] = code
    return found


@pytest.mark.parametrize(
    ("moving", "code", "still"),
    [
        (0, 128, True),
        (1000, 129, True),  # 0.16 px
        (1000, 130, False),  # 0.31 px
        (1000, 126, False),
        (10, 255, True),  # one in a hundred
        (11, 255, False),
    ],
)
def test_still_is_what_hardly_moves_hardly_anywhere(moving, code, still):
    assert is_still(blocks(moving=moving, code=code), zero=128, scale=SCALE) is still


def test_stretches_of_a_clip():
    jpegs = [np.frombuffer(text, np.uint8) for text in (b"aa", b"aa", b"ab", b"a", b"a")]
    found = find_stretches([True, False, True, True], jpegs)
    assert (found.fields, found.still, found.longest, found.duplicate) == (4, 3, 2, 2)
