"""Numbers that people and files give as text, such as frames a second: `25`, `12.5`, `30000/1001`."""

from fractions import Fraction

_LONGEST = 100  # characters


def exact_number(value: object) -> Fraction:
    """The number that a text gives: `30000/1001` is not 29.97.

    Raises:
        ValueError: no text, no number, or one with an exponent, of which Fraction makes as many digits, for minutes.

    Example:
        >>> exact_number("30000/1001"), exact_number("12.5")
        (Fraction(30000, 1001), Fraction(25, 2))
    """
    if isinstance(value, str) and len(value) <= _LONGEST and "e" not in value.lower():
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            pass
    raise ValueError(f"{value!r:.100} is not a number or fraction such as 25 or 30000/1001")
