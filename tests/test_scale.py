"""Planning and scheduling at two sizes, four times apart: what is fine at ten million clips shows here already.

`python benchmarks/scale.py` measures the large sizes; what it found is in docs/scale.md.
"""

import math

import pytest

from benchmarks.scale import Measured, growth_of, measure
from benchmarks.scale_lists import Inputs
from benchmarks.scale_steps import STEPS, Found

SMALL, LARGE = 5_000, 20_000
MOST_TIMES = 9
"""What four times the clips may take; n log n is 4.7 times, and a quadratic step 16 times."""
MEASURABLE_S = 0.05
MOST_BYTES = {"whole flow": 1300, "page index": 1300}
"""Of memory a clip, at the larger size, where much of it does not depend on the clips."""
MOST_BYTES_ELSEWHERE = 900


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Every step at both sizes: step to rows."""
    rows = {step: [] for step in STEPS}
    # the middle one of three where Python's arenas of 1 MiB weigh much
    for clips, tries in ((SMALL, 3), (LARGE, 1)):
        found = {step: [] for step in STEPS}
        for _ in range(tries):
            # few: each waits for the disk
            inputs = Inputs(folder=tmp_path_factory.mktemp("clips"), clips=clips, few=100)
            inputs.make()
            for step, function in STEPS.items():
                found[step].append(measure(step, function, inputs))
        for step, measured_so in found.items():
            rows[step].append(sorted(measured_so, key=lambda one: one.bytes_a_clip)[tries // 2])
    return rows


@pytest.mark.parametrize("step", STEPS)
def test_time_grows_with_the_clips_and_no_faster(measured, step):
    small, large = measured[step]
    assert large.cpu_s < MOST_TIMES * max(small.cpu_s, MEASURABLE_S)


@pytest.mark.parametrize("step", STEPS)
def test_memory_a_clip_is_flat(measured, step):
    small, large = measured[step]
    assert large.bytes_a_clip < 1.1 * small.bytes_a_clip
    assert large.bytes_a_clip < MOST_BYTES.get(step, MOST_BYTES_ELSEWHERE)


@pytest.mark.parametrize(
    ("step", "events"),
    [("first download", 100), ("last download", 100), ("whole download", LARGE), ("whole flow", LARGE)],
)
def test_every_clip_went_through_the_loop(measured, step, events):
    assert measured[step][-1].found.events == events


def rows_of(cpu_s, bytes_a_clip=lambda clips: 500):
    """Of a step that takes so much at three sizes."""
    return [
        Measured(
            step="made up",
            clips=clips,
            cpu_s=cpu_s(clips),
            base_bytes=1_000_000,
            peak_bytes=1_000_000 + clips * bytes_a_clip(clips),
            found=Found(),
        )
        for clips in (10_000, 100_000, 1_000_000)
    ]


def test_growth_that_is_good():
    linearithmic = growth_of(rows_of(lambda clips: clips * math.log(clips) / 1e5))
    assert linearithmic.is_good
    assert 1.05 < linearithmic.exponent < 1.15
    assert "good" in str(linearithmic)
    assert growth_of(rows_of(lambda clips: clips / 1e4)).exponent == pytest.approx(1)
    assert "too quick to tell" in str(growth_of(rows_of(lambda clips: clips / 1e9)))


@pytest.mark.parametrize(
    "rows",
    [
        rows_of(lambda clips: (clips / 1e4) ** 1.3),
        rows_of(lambda clips: clips / 1e4, bytes_a_clip=lambda clips: 500 if clips < 1_000_000 else 700),
    ],
    ids=["time", "memory"],
)
def test_growth_that_is_worse(rows):
    assert not growth_of(rows).is_good
    assert "WORSE" in str(growth_of(rows))
