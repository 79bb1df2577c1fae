import re
import subprocess
from fractions import Fraction
from itertools import pairwise

import imageio_ffmpeg
import numpy as np
import pytest

from preprocess.media import inspect
from preprocess.stillness import Stillness, is_black, is_still, seconds_of
from tests.preprocess.conftest import textured_frames, write_video

FPS = 25


def moving(count, *, seed=0):
    return list(np.random.default_rng(seed).integers(60, 200, (count, 16, 24), np.uint8))


def still(count, *, luma=120):
    return [np.full((16, 24), luma, np.uint8)] * count


def look_at(lumas, *, ticks=None, end=None, full_range=False):
    """(frozen, black), each as pairs of seconds, with the lumas as the only planes; a frame a tick."""
    stillness = Stillness(Fraction(1, FPS))
    ticks = ticks or range(len(lumas))
    for tick, luma in zip(ticks, lumas, strict=True):
        stillness.add(tick, [luma], full_range=full_range)
    stillness.close(ticks[-1] + 1 if end is None else end)
    return tuple([(s.start_s, s.end_s) for s in found] for found in (stillness.frozen, stillness.black))


def test_still_seconds_within_motion():
    assert look_at(moving(25) + still(75) + moving(25))[0] == [(1, 4)]


def test_each_stretch_is_found():
    frozen, _ = look_at(still(50) + moving(10) + still(60, luma=90) + still(70))
    assert frozen == [(0, 2), (Fraction(60, 25), Fraction(120, 25)), (Fraction(120, 25), Fraction(190, 25))]


def test_stretches_at_both_ends_of_the_video():
    assert look_at(still(50) + moving(25) + still(50))[0] == [(0, 2), (3, 5)]


@pytest.mark.parametrize(("frames", "found"), [(49, []), (50, [(1, 3)])])
def test_only_two_seconds_or_more_count(frames, found):
    assert look_at(moving(25) + still(frames) + moving(25))[0] == found


def test_times_are_those_of_presentation():
    # a slide show: one picture shown for 2.5 s, then one for 1 s
    first, second, third = moving(3)
    frozen, _ = look_at([first, second, third], ticks=[0, 63, 88], end=100)
    assert frozen == [(0, Fraction(63, FPS))]


def test_slow_change_is_measured_from_the_first_frame_of_the_stretch():
    # a fifth of the pixels one level brighter each frame: less than the noise from frame to frame
    picture = np.full((20, 25), 60, np.uint8)
    fade = []
    for k in range(100):
        picture = picture.copy()
        picture.reshape(-1)[k % 5 :: 5] += 1
        fade.append(picture)
    assert all(is_still([before], [after]) for before, after in pairwise(fade))
    assert look_at(fade)[0] == []


@pytest.mark.parametrize(("changed", "expected"), [(256, True), (257, False)])
def test_noise_is_the_mean_difference(changed, expected):
    picture = np.full((25, 40), 100, np.uint8)
    other = picture.copy()
    other.reshape(-1)[:changed] -= 1  # of a thousand, by one level of 256
    assert is_still([other], [picture]) is expected


def test_colour_counts_as_much_as_luma():
    luma, gray, red = (
        np.full((20, 20), 90, np.uint8),
        np.full((10, 10), 128, np.uint8),
        np.full((10, 10), 140, np.uint8),
    )
    assert is_still([luma, gray, gray], [luma, gray, gray])
    assert not is_still([luma, gray, red], [luma, gray, gray])


def test_other_shapes_are_not_still():
    luma = np.full((20, 20), 90, np.uint8)
    assert not is_still([luma, luma[:10, :10]], [luma, luma])


def test_padding_of_rows_is_not_looked_at():
    padded = np.zeros((2, 16, 32), np.uint8)
    padded[0, :, 24:] = 255
    assert is_still([padded[0, :, :24]], [padded[1, :, :24]])
    assert is_black(padded[0, :, :24], full_range=False)


def test_black_seconds_are_still_too():
    frozen, black = look_at(moving(25) + still(63, luma=16) + moving(25))
    assert frozen == black == [(1, Fraction(88, 25))]


def test_black_that_flickers_is_not_still():
    dark = [np.full((16, 24), 16 + 10 * (k % 2), np.uint8) for k in range(75)]
    assert look_at(dark) == ([], [(0, 3)])


@pytest.mark.parametrize(("full_range", "brightest"), [(False, 37), (True, 25)])
def test_black_level_is_a_tenth_of_the_range(full_range, brightest):
    assert is_black(np.full((16, 24), brightest, np.uint8), full_range=full_range)
    assert not is_black(np.full((16, 24), brightest + 1, np.uint8), full_range=full_range)


@pytest.mark.parametrize("dark", [16, 37])  # 21 white pixels among the brightest black ones are too much light already
@pytest.mark.parametrize(("bright", "expected"), [(20, True), (21, False)])
def test_black_may_hold_two_percent_that_is_not(bright, expected, dark):
    picture = np.full((25, 40), dark, np.uint8)
    picture.reshape(-1)[:bright] = 255
    assert is_black(picture, full_range=False) is expected


def test_seconds_add_up():
    stillness = Stillness(Fraction(1, FPS))
    for k, luma in enumerate(still(60) + moving(10) + still(50)):
        stillness.add(k, [luma], full_range=False)
    stillness.close(120)
    assert seconds_of(stillness.frozen) == pytest.approx(4.4)
    assert seconds_of([]) == 0


# --- encoded videos -----------------------------------------------------------------------------------------------


def black_frames(count):
    return np.zeros((count, 48, 64, 3), np.uint8)


def still_frames(count):
    return np.repeat(textured_frames(1, seed=3), count, axis=0)


def grain(frames, *, sigma=4.0):
    noise = np.random.default_rng(0).normal(0, sigma, frames.shape[:3])[..., None]
    return (frames + noise).clip(0, 255).astype(np.uint8)


def fade_to_black(count):
    levels = np.linspace(1, 0, count)[:, None, None, None]
    return (still_frames(count) * levels).astype(np.uint8)


MADE_UP = {
    "moving": lambda: textured_frames(75),
    "still_within": lambda: np.concatenate([textured_frames(30), still_frames(75), textured_frames(30, seed=1)]),
    "still_at_the_start": lambda: np.concatenate([still_frames(60), textured_frames(30)]),
    "still_at_the_end": lambda: np.concatenate([textured_frames(30), still_frames(60)]),
    "still_for_1.9_s": lambda: np.concatenate([textured_frames(30), still_frames(47), textured_frames(30)]),
    "black_within": lambda: np.concatenate([textured_frames(30), black_frames(63), textured_frames(30)]),
    "black_at_the_end": lambda: np.concatenate([textured_frames(30), black_frames(63)]),
    "slow_fade": lambda: np.concatenate([textured_frames(25), fade_to_black(150)]),
    "film_grain": lambda: grain(still_frames(100)),
    "film_grain_on_black": lambda: grain(black_frames(100)),
}


def by_ffmpeg(path, *, end_s):
    """(frozen, black) as FFmpeg's filters find them; a stretch that they leave open lasts until `end_s`."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-copyts", "-i", str(path), "-an"]
    command += ["-vf", "freezedetect,blackdetect", "-fps_mode", "passthrough", "-f", "null", "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = {word: [float(t) for t in re.findall(rf"{word}: ?([\d.]+)", text)] for word in EDGES}
    return tuple(
        list(zip(found[f"{kind}_start"], [*found[f"{kind}_end"], end_s], strict=False)) for kind in ("freeze", "black")
    )


EDGES = ("freeze_start", "freeze_end", "black_start", "black_end")


def as_floats(stretches):
    return [(float(s.start_s), float(s.end_s)) for s in stretches]


def agree(ours, theirs, *, within_s):
    return len(ours) == len(theirs) and np.abs(np.array(ours) - np.array(theirs)).max(initial=0) <= within_s


@pytest.mark.parametrize("name", MADE_UP)
def test_stretches_are_those_that_ffmpeg_finds(tmp_path, name):
    path = write_video(tmp_path / "a.mp4", MADE_UP[name]())
    info = inspect(path)
    frozen, black = by_ffmpeg(path, end_s=info.duration_s)
    assert agree(as_floats(info.frozen), frozen, within_s=1e-3)
    assert agree(as_floats(info.black), black, within_s=1e-3 + 1 / 25)  # it forgets the last frame's own time


@pytest.mark.parametrize(
    ("name", "frozen", "black"),
    [
        ("moving", [], []),
        ("still_within", [(1.2, 4.2)], []),
        ("still_for_1.9_s", [], []),
        ("black_within", [(1.2, 3.72)], [(1.2, 3.72)]),
        ("film_grain", [], []),
        ("film_grain_on_black", [], [(0.0, 4.0)]),
    ],
)
def test_stretches_of_made_up_clips(tmp_path, name, frozen, black):
    info = inspect(write_video(tmp_path / "a.mp4", MADE_UP[name](), gop=250))  # key frames differ a little
    assert (as_floats(info.frozen), as_floats(info.black)) == (frozen, black)
