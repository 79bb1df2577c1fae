import math

import pytest

from preprocess.words import field_name, field_value


@pytest.mark.parametrize(
    ("name", "value", "heading", "text"),
    [
        ("duration_s", 9.5, "Duration", "9.5 s"),
        ("frozen_s", 0.0, "Frozen", "0 s"),
        ("time_start", 12, "Time start", "12 s"),
        ("width", 340, "Width", "340 px"),
        ("bytes", 1234567, "Bytes", "1,234,567"),
        ("frame_count", 250, "Frames", "250"),
        ("sha256", "ab12", "SHA-256", "ab12"),
        # a manifest may come from anybody
        ("duration_s", math.inf, "Duration", "inf s"),
        ("duration_s", True, "Duration", True),
        ("duration_s", ["<b>"], "Duration", ["<b>"]),
        ("", None, "", None),
    ],
)
def test_fields_of_a_manifest_for_reading(name, value, heading, text):
    assert (field_name(name), field_value(value, name)) == (heading, text)
