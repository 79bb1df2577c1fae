import pytest

from preprocess.clip_names import read_clip_name

KEY = "-abc_defGHI_000004_000014"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{KEY}.mp4", KEY),
        (f"a/b/{KEY}.webm", KEY),
        (f"../../{KEY}.mp4", KEY),
        (KEY, KEY),
        ("-abc_defGHI_4_14.mp4", KEY),
        ("-abc_defGHI.mkv", "-abc_defGHI"),
        ("123_456_789.mp4", "123_456_789"),
        ("123_456_789_1_2.mp4", "123_456_789_000001_000002"),
    ],
)
def test_name_of_a_clip(path, text):
    assert read_clip_name(path).text == text


@pytest.mark.parametrize(
    "path",
    [
        f"._{KEY}.mp4",
        f"{KEY}.json",
        f"{KEY}.mp4.part",
        f"{KEY}.JPG",
        f"{KEY}_1.mp4",
        f"x{KEY}.mp4",
        "-abc_defGHI_1234567_1234568.mp4",
        "-abc_defGHI_4.mp4",
        "-abc_defGH.mp4",
        "-abc_defGHI .mp4",
        "-abc_defGH\u00cd.mp4",
        "",
        "/",
    ],
)
def test_name_of_anything_else(path):
    assert read_clip_name(path) is None
