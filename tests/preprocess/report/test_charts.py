import pytest

from preprocess.report.charts import HEIGHT, WIDTH, draw_chart
from preprocess.report.content import Histogram


def drawn(counts, **options):
    histogram = Histogram(first=10.0, step=5.0, counts=counts)
    return draw_chart(histogram, title="t", counted="clips", text=lambda value: f"{value:g}", **options)


def test_bars_are_as_high_as_their_counts():
    bars = drawn((5, 0, 10, 20)).bars
    assert [bar.height for bar in bars] == [HEIGHT / 4, HEIGHT / 2, HEIGHT]
    assert [bar.y + bar.height for bar in bars] == [HEIGHT] * 3
    assert [bar.title for bar in bars] == ["10 to 15: 5 clips", "20 to 25: 10 clips", "25 to 30: 20 clips"]
    assert [(bar.x, bar.width) for bar in bars] == [(WIDTH * part + 0.5, WIDTH / 4 - 1) for part in (0, 1 / 2, 3 / 4)]


def test_logarithmic_bars_lose_a_sixth_a_decade():
    bars = drawn((999_000, 999, 1), logarithmic=True).bars
    assert [bar.height for bar in bars] == pytest.approx([HEIGHT, HEIGHT / 2, 2], abs=0.1)


def test_ticks_are_at_the_edges():
    assert [(tick.x, tick.text) for tick in drawn((1, 1)).ticks] == [(0, "10"), (WIDTH / 2, "15"), (WIDTH, "20")]
    assert [tick.text for tick in drawn((1,) * 57).ticks] == ["10", "70", "130", "190", "250"]
