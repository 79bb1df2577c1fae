"""Rows of a benchmark's table: told as they come, so that what goes wrong later costs none that was measured."""

import traceback
from collections.abc import Iterable, Mapping

Row = tuple[str, str, str]
"""What, how much, and a remark."""


def measure(sections: Mapping[str, Iterable[Row]], rows: list[Row]) -> bool:
    """Add the rows of all sections to `rows`.

    A section that fails costs its own further rows only, and Ctrl-C those of the sections that are left.

    Returns:
        Whether neither happened.
    """
    complete = True
    for name, section in sections.items():
        try:
            for row in section:
                rows.append(row)
                print("...", *row, sep="  ", flush=True)
        except KeyboardInterrupt:
            rows.append((name, "interrupted", "what is left was not measured"))
            return False
        except Exception as error:  # noqa: BLE001 whatever it was, the others can be measured
            traceback.print_exc()
            rows.append((name, "FAILED", repr(error)))
            complete = False
    return complete
