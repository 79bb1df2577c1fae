"""Tests of preprocess.exact_number."""

from fractions import Fraction

import pytest

from preprocess.exact_number import exact_number


@pytest.mark.parametrize("text", ["25", "12.5", "30000/1001"])
def test_number_is_exact_and_written_as_it_is_read(text):
    number = exact_number(text)
    assert number == Fraction(text)
    assert exact_number(str(number)) == number


@pytest.mark.parametrize("value", ["x", "", "1/0", "nan", "1e5000", "1E999999999", "9" * 6000, 25, None, ["25"]])
def test_anything_else_fails_at_once(value):
    with pytest.raises(ValueError, match=r"is not a number or fraction such as 25 or 30000/1001$"):
        exact_number(value)
