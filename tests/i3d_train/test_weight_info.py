"""Tests of i3d_train.weight_info."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i3d_train.weight_info import HEADER, WeightsInfo, header_of, read_header
from preprocess.errors import InvalidInput

PATH = Path("w.safetensors")
LABELS = ("dive", "r\u00eaver")
INFO = WeightsInfo(
    path=PATH, model="c3d", stream="rgb", num_classes=2, labels=LABELS, width=0.25, transfer="fixed", short_side=128
)
SOURCE = {"name": "checkpoint-5.pt", "sha256": "ab"}


def changed(**values) -> dict[str, str]:
    record = json.loads(header_of(INFO, source=SOURCE)[HEADER])
    return {HEADER: json.dumps(record | values)}


def test_header_tells_all():
    assert read_header(header_of(INFO, source=SOURCE), PATH) == INFO


def test_header_without_a_short_side_is_of_the_published_one():
    assert read_header(changed(short_side=None), PATH) == replace(INFO, short_side=256)


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
        ({HEADER: "{"}, r"damaged header"),
        ({HEADER: "[" * 100_000}, r"damaged header"),
        ({HEADER: "[]"}, r"damaged header"),
    ],
)
def test_header_that_cannot_be_trusted_fails(metadata, message):
    with pytest.raises(InvalidInput, match=message):
        read_header(metadata, PATH)
