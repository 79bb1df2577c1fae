from dataclasses import replace

import numpy as np
import pytest

from preprocess.report.content import Share
from preprocess.report.figures import _balance, _camera, _frame_sizes, _histogram, _stillness
from preprocess.report.stretches import Stretches
from tests.preprocess.report.test_motion import measures


def test_histogram_has_bins_of_a_whole_width():
    found = _histogram(np.array([10, 10, 33]))
    assert (found.first, found.step, found.counts) == (10, 1, (2, *[0] * 22, 1))
    found = _histogram(np.array([10, 11, 12, 34]))
    assert (found.first, found.step, found.counts) == (10, 2, (2, 1, *[0] * 10, 1))
    found = _histogram(np.array([0.5, 23.9, 24.0]))
    assert (found.first, found.step, found.counts) == (0, 2, (1, *[0] * 10, 1, 1))


def test_frame_sizes_are_the_six_most_frequent_and_the_rest():
    sizes = [(width, 48) for width in range(60, 68) for _ in range(70 - width if width < 66 else 3)]
    assert _frame_sizes(sizes) == (
        *(Share(value=f"{width}x48", clips=70 - width) for width in range(60, 66)),
        Share(value="other", clips=6),
    )
    assert _frame_sizes([(64, 48), (32, 96), (64, 48)])[0] == Share(value="64x48", clips=2)


def test_balance_is_over_the_labels_that_have_a_clip():
    found = _balance(np.array([0, 2, 2, 2, -1, -1]), labels=5)
    assert (found.labels, found.empty, found.unlabelled) == (5, 3, 2)
    assert found.clips is not None
    assert (found.clips.smallest, found.clips.median, found.clips.mean, found.clips.largest) == (1, 2, 2, 3)
    assert found.by_label is not None
    assert found.by_label.counts == (1, 0, 1)


def of_stretches(*, fields, still, longest, duplicate):
    found = Stretches(fields=fields, still=still, longest=longest, duplicate=duplicate)
    return replace(measures([0.0]), stretches=found)


def test_stillness_is_over_all_fields_of_the_clips():
    clips = [
        of_stretches(fields=100, still=95, longest=10, duplicate=3),
        of_stretches(fields=100, still=94, longest=9, duplicate=0),
        of_stretches(fields=200, still=11, longest=25, duplicate=5),
    ]
    found = _stillness(clips, fps=10.0)
    assert (found.clips, found.fields, found.still, found.duplicate) == (3, 400, 0.5, 0.02)
    assert found.longest_s == 2.5
    assert (found.with_stretch, found.wholly) == (pytest.approx(2 / 3, abs=1e-6), pytest.approx(1 / 3, abs=1e-6))


def test_camera_has_the_share_of_the_energy_and_the_median_of_the_clips():
    clips = [
        replace(measures([0.0]), energy=energy, explained=explained, moving_fields=fields)
        for energy, explained, fields in [(1.0, 0.95, 2), (8.0, 0.0, 3), (1.0, 0.25, 4), (0.0, 0.0, 5)]
    ]
    found = _camera(clips)
    assert found is not None
    assert (found.clips, found.fields, found.share, found.median) == (3, 9, 0.12, 0.25)
    assert (found.by_clip.step, found.by_clip.counts) == (0.1, (1, 0, 1, 0, 0, 0, 0, 0, 0, 1))
    assert _camera(clips[3:]) is None
