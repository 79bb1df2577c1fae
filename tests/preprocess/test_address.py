"""Tests of preprocess.address."""

import os
from pathlib import Path

import pytest

from preprocess.address import folder_name, shown


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Path("caf\u00e9/a b"), "caf\u00e9/a b"),
        ("s3://user:key@bucket/shards?token=1", "s3://bucket/shards"),
        ("s3://bucket/run #2/shards?token=1#x", "s3://bucket/run #2/shards"),
        ("s3://user:key@[bucket", "s3://[bucket"),
        ("memory://bucket?key=1", "memory://bucket"),
        (Path(os.fsdecode(b"caf\xe9/a")), "caf\\xe9/a"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
    ],
)
def test_shown_is_text_without_secrets(place, text):
    assert shown(place) == text


@pytest.mark.parametrize(
    ("place", "name"),
    [("s3://bucket/ucf101/", "ucf101"), (Path("/data/ucf101"), "ucf101"), (Path(os.fsdecode(b"/ucf\xff")), "ucf\\xff")],
)
def test_folder_name_is_the_last_part(place, name):
    assert folder_name(place) == name
