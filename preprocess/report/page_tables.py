"""The tables of the page, as plain text; the first column is to the left, numbers are to the right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from preprocess.report.content import ClassFigures, Motion, Part, Spread
from preprocess.report.motion import percent

Column = tuple[str, Part]
"""Name of a part, and the part."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def share(value: float | None) -> str:
    """A share, or a dash where it is not known."""
    return "-" if value is None else percent(value)


def number(value: float | None, digits: int = 0) -> str:
    """A number, or a dash where it is not known."""
    return "-" if value is None else f"{value:,.{digits}f}"


def label_text(label: str | None) -> str:
    """The name of a class."""
    return "no label" if label is None else label


def motion_table(columns: Sequence[Column]) -> Table:
    """Shares at the bound and percentiles, a column for each part."""
    rows: list[tuple[str, Callable[[Motion], str]]] = [
        ("clips", lambda motion: number(motion.clips)),
        ("flow fields", lambda motion: number(motion.fields)),
        ("at the bound, u and v together", lambda motion: share(motion.at_bound)),
        ("u at the bound", lambda motion: share(motion.u.at_bound)),
        ("v at the bound", lambda motion: share(motion.v.at_bound)),
    ]
    motions = {name: part.motion for name, part in columns if part.motion}
    cells = [(title, *(text(motion) for motion in motions.values())) for title, text in rows]
    for name in ("u", "v"):
        components = [motion.u if name == "u" else motion.v for motion in motions.values()]
        for level in components[0].percentiles_px if components else ():
            values = (f"{number(component.percentiles_px[level], 2)} px" for component in components)
            cells.append((f"{level} % of |{name}| are at most", *values))
    return Table(head=("", *motions), rows=tuple(cells))


def bound_table(columns: Sequence[Column]) -> Table:
    """What other bounds would clip, a column for each part."""
    motions = {name: part.motion for name, part in columns if part.motion}
    rows = []
    for bounds in zip(*(motion.bounds for motion in motions.values()), strict=True):
        clipped = [f"{'' if one.is_exact else 'about '}{share(one.clipped)}" for one in bounds]
        rows.append((f"+-{bounds[0].bound_px:g} px", *clipped, f"{bounds[0].step_px:.3f} px"))
    return Table(head=("bound", *motions, "step of a code"), rows=tuple(rows))


def still_table(columns: Sequence[Column]) -> Table:
    """Stillness, a row for each part."""
    rows = []
    for name, part in columns:
        if part.stillness is not None:
            found = part.stillness
            shares = (found.still, found.duplicate, found.with_stretch, found.wholly)
            counts = (number(found.clips), number(found.fields))
            rows.append((name, *counts, *map(share, shares), f"{number(found.longest_s, 2)} s"))
    head = (
        "",
        "clips",
        "fields",
        "still",
        "between equal frames",
        "clips still for 1 s",
        "wholly still clips",
        "longest",
    )
    return Table(head=head, rows=tuple(rows))


def camera_table(columns: Sequence[Column]) -> Table:
    """The camera's share, a row for each part."""
    rows = [
        (
            name,
            number(part.camera.clips),
            number(part.camera.fields),
            share(part.camera.share),
            share(part.camera.median),
        )
        for name, part in columns
        if part.camera
    ]
    return Table(head=("", "clips that move", "fields that move", "of all energy", "median clip"), rows=tuple(rows))


def size_table(columns: Sequence[Column]) -> Table:
    """Bytes, lengths and clips a class, four rows for each part."""
    rows = []
    for name, part in columns:
        spreads = [
            ("bytes of a frame, mean of a clip", part.rgb_bytes),
            ("bytes of a flow field, mean of a clip", part.flow_bytes),
            ("frames of a clip", part.lengths),
            ("clips of a class that has any", part.balance.clips),
        ]
        rows += [(name, title, *_spread(spread)) for title, spread in spreads if spread is not None]
    return Table(head=("", "", "smallest", "median", "mean", "largest"), rows=tuple(rows))


def part_table(columns: Sequence[Column]) -> Table:
    """What there is, a row for each part."""
    rows = []
    for name, part in columns:
        counts = (part.clips, part.frames, part.sampled, part.balance.unlabelled)
        empty = f"{number(part.balance.empty)} of {number(part.balance.labels)}"
        rows.append((name, *map(number, counts), empty))
    return Table(
        head=("", "clips", "frames", "decoded here", "without label", "classes without clip"), rows=tuple(rows)
    )


def class_table(part: Part) -> Table:
    """A row for each class."""
    head = ("class", "clips", "decoded here", "bytes a frame", "bytes a field", "at the bound", "99 % are at most")
    return Table(head=(*head, "still", "camera"), rows=tuple(map(_class_row, part.classes)))


def _class_row(found: ClassFigures) -> tuple[str, ...]:
    return (
        label_text(found.label),
        *map(number, (found.clips, found.sampled, found.rgb_bytes, found.flow_bytes)),
        share(found.at_bound),
        "-" if found.p99_px is None else f"{found.p99_px:.2f} px",
        share(found.still),
        share(found.camera),
    )


def _spread(spread: Spread) -> tuple[str, ...]:
    values = (spread.smallest, spread.median, spread.mean, spread.largest)
    return tuple(number(value, 0 if value.is_integer() or value >= 100 else 1) for value in values)
