"""Tests of i3d_train.weight_info."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from i3d_train.weight_info import HEADER, WeightsInfo, header_of, read_header
from preprocess.errors import InvalidInput

PATH = Path("w.safetensors")
LABELS = ("dive", "r\u00eaver")
INFO = WeightsInfo(
    path=PATH,
    model="c3d",
    stream="rgb",
    num_classes=2,
    labels=LABELS,
    width=0.25,
    transfer="fixed",
    short_side=128,
    fps=Fraction(30000, 1001),
    fold=2,
)
SOURCE = {"name": "checkpoint-5.pt", "sha256": "ab"}


def changed(**values) -> dict[str, str]:
    record = json.loads(header_of(INFO, source=SOURCE)[HEADER])
    return {HEADER: json.dumps(record | values)}


def test_header_tells_all():
    assert read_header(header_of(INFO, source=SOURCE), PATH) == INFO


def test_header_that_does_not_say_it_is_of_videos_as_published():
    found = read_header(changed(short_side=None, fps=None, fold=None), PATH)
    assert found == replace(INFO, short_side=256, fps=Fraction(25), fold=None)


def test_header_names_the_source():
    assert json.loads(header_of(INFO, source=SOURCE)[HEADER])["source"] == SOURCE


def test_metadata_of_others_is_none_of_ours():
    assert read_header({"format": "pt"}, PATH) is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (changed(version=2), r"holds 'c3d' in version 2, this one knows version 1 .*; upgrade kineflow"),
        # whose other fields may be others
        ({HEADER: '{"version": 2, "model": "x4d"}'}, r"holds 'x4d' in version 2, this one knows version 1 of i3d, "),
        (changed(model="x4d"), r"holds 'x4d' in version 1, .* of i3d, convnet_lstm, .*; upgrade kineflow"),
        (changed(num_classes=3), r"names 2 of 3 classes; convert it again"),
        (changed(num_classes=None), r"damaged header"),
        (changed(num_classes=float("inf")), r"damaged header"),
        (changed(labels=5), r"damaged header"),
        (changed(transfer=["full"]), r"damaged header"),
        (changed(short_side=0), r"damaged header"),
        (changed(short_side=10**6), r"damaged header"),
        (changed(short_side="256"), r"damaged header"),
        *((changed(fps=value), r"damaged header") for value in (25, "0", "1/0", "-1", "1e999999999", "9" * 5000)),
        *((changed(fold=value), r"damaged header") for value in (0, "1", True, 1.0)),
        ({HEADER: "{"}, r"damaged header"),
        ({HEADER: "[" * 100_000}, r"damaged header"),
        ({HEADER: "[]"}, r"damaged header"),
    ],
)
def test_header_that_cannot_be_trusted_fails(metadata, message):
    with pytest.raises(InvalidInput, match=message):
        read_header(metadata, PATH)
