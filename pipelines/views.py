"""Where a test looks at a clip: windows along time, crops along the longer side.

Source: `get_start_end_idx` (with `use_offset`) of slowfast/datasets/decoder.py and `uniform_crop`, called
`spatial_shift_crop_list` in its other form, of slowfast/datasets/transform.py, https://github.com/facebookresearch/
SlowFast at 1739b74. Two deliberate differences of at most a frame and a pixel: the last of several windows ends with
the clip, where SlowFast rounds the step down; half pixels are rounded down, as in this project's single centre crop,
where SlowFast rounds up.
"""


def window_start(free: int, *, number: int, count: int) -> int:
    """First frame of a window.

    Args:
        free: frames of the clip beyond the window's length; below 0 where the clip is shorter.
        number: of the window, from 0.
        count: windows of the clip; 1 is the centre.

    Returns:
        0 to `free`; always 0 where the clip is shorter.
    """
    if free <= 0:
        return 0
    return free // 2 if count == 1 else number * free // (count - 1)


def crop_corners(height: int, width: int, *, side: int, count: int) -> tuple[tuple[int, int], ...]:
    """Top and left of each crop.

    Args:
        height: of the frame in pixels, at least `side`.
        width: of the frame in pixels, at least `side`.
        side: of the crop in pixels.
        count: 1 is the centre; 3 lie at the start, the centre and the end of the longer side.
    """
    down, right = height - side, width - side
    if count == 1:
        return ((down // 2, right // 2),)
    if height > width:
        return tuple((top, right // 2) for top in (0, down // 2, down))
    return tuple((down // 2, left) for left in (0, right // 2, right))
