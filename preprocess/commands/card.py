"""`preprocess card` and `preprocess card diff`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.console import LocalPath
from preprocess.excerpt import one_line

if TYPE_CHECKING:
    from preprocess.card.content import Card
    from preprocess.card.diff import Change, Clips, Difference

_LOCAL = LocalPath()
_SHOWN = 10  # rows of a list on the terminal; the card and --json have all


@click.command()
@click.argument("operands", metavar="CLIPS | diff A B", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the card, or the difference, as JSON, and write nothing.")
@click.option(
    "--keys",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many clips of each kind diff names.",
)
def card(operands: tuple[str, ...], as_json: bool, keys: int) -> None:
    """Say which clips a folder holds, or where two folders differ.

    The first form writes CLIPS/card.md for reading, CLIPS/card.json for programs, and CLIPS/card.clips.gz, the clips
    one by one. Two people whose cards begin with equal hashes have the same clips.

    The second form compares two data sets, each a folder of clips, a folder with a card, or a card.json. It names the
    clips that differ when the card.clips.gz lie beside the cards; cards alone say in which classes. For a folder that
    is called diff write ./diff.

    \b
    Examples:
        preprocess card clips
        preprocess card diff clips /mnt/theirs/card.json

    Exit status of the second form: 0 no difference, 1 different, 2 wrong usage.
    """
    match operands:
        case ["diff", a, b]:
            _diff(_LOCAL.convert(a, None, None), _LOCAL.convert(b, None, None), as_json=as_json, keys=keys)
        case [folder] if folder != "diff":
            _write(_LOCAL.convert(folder, None, None), as_json=as_json)
        case _:
            raise click.UsageError(
                f"`preprocess card CLIPS` or `preprocess card diff A B`, got {' '.join(map(repr, operands))}"
            )


def _write(folder: Path, *, as_json: bool) -> None:
    from preprocess.card.making import make_card

    made = make_card(folder)
    if as_json:
        click.echo(made.card.to_json(), nl=False)
        return
    made.write(folder)
    click.echo("\n".join(_summary(made.card, folder)))


def _summary(card: "Card", folder: Path) -> Iterator[str]:
    from preprocess.card.clips import CARD_CLIPS_NAME
    from preprocess.card.content import CARD_NAME, CARD_PAGE_NAME, short

    identity = card.identity
    yield f"usable   {short(identity.usable):<12}  equal hashes mean: the same {card.usable:,} clips,"
    yield f"labels   {short(identity.labels):<12}  each in the same split and class,"
    yield f"files    {short(identity.files):<12}  each the same file, byte for byte"
    yield f"wanted   {short(identity.wanted):<12}  {card.rows.wanted:,} clips{_of_what(card)}"
    for split, count in card.splits.items():
        yield f"{one_line(split)}: {count.usable:,} usable of {count.wanted:,} wanted"
    for kind in card.missing[:_SHOWN]:
        cause = f" ({kind.cause})" if kind.cause else ""
        example = f", such as {kind.example_key}: {kind.example}" if kind.example else ""
        yield one_line(f"missing: {kind.clips:,} {kind.outcome}{cause}{example}")
    if len(card.missing) > _SHOWN:
        yield f"missing: {len(card.missing) - _SHOWN} more kinds, all in {CARD_PAGE_NAME}"
    if card.rows.refused:
        yield f"refused: {card.rows.refused:,} rows of the lists"
    if card.unlisted.usable:
        yield f"usable, though in no list: {card.unlisted.usable:,} clips of earlier runs"
    if card.moved:
        yield f"in another split or class than the list says: {card.moved:,} clips"
    yield f"wrote {CARD_PAGE_NAME}, {CARD_NAME} and {CARD_CLIPS_NAME} in {folder}"


def _of_what(card: "Card") -> str:
    if not card.from_list:
        return ", which the manifest names: no list.json here"
    names = ", ".join(entry.name for entry in card.lists)
    return " " + one_line(f"of {card.rows.listed:,} rows in {names}" + (f" ({card.dataset})" if card.dataset else ""))


def _diff(a: Path, b: Path, *, as_json: bool, keys: int) -> None:
    from preprocess.card.diff import Side, compare

    difference = compare(Side.open(a), Side.open(b), keys=keys)
    click.echo(difference.to_json() if as_json else "\n".join(_difference(difference)), nl=not as_json)
    if not difference.is_same:
        raise SystemExit(1)


_LEVELS = {
    "lists": "annotation lists",
    "wanted": "wanted clips",
    "usable": "usable clips",
    "labels": "splits and classes of the clips in both",
    "files": "files of the clips in both",
}


def _difference(difference: "Difference") -> Iterator[str]:
    yield f"A: {one_line(difference.a)}"
    yield f"B: {one_line(difference.b)}"
    for level, same in difference.levels.items():
        verdict = "not known" if same is None else "same" if same else "different"
        numbers = "A has {:,}, B has {:,}".format(*difference.counts[level]) if level in difference.counts else ""
        yield f"{verdict:<10} {_LEVELS[level]:<40} {numbers}".rstrip()
    if difference.clips is None:
        yield "which clips: not known, since a card came without its card.clips.gz"
    else:
        yield from _clips(difference.clips)
    for name, changes in (("split", difference.splits), ("class", difference.classes)):
        yield from _changes(name, changes)


def _clips(clips: "Clips") -> Iterator[str]:
    yield f"in both: {clips.in_both:,}" + (f", {clips.unhashed:,} of them never hashed" if clips.unhashed else "")
    for name, some, reasons in (
        ("only in A", clips.only_a, _reasons("B", clips.b_lacks)),
        ("only in B", clips.only_b, _reasons("A", clips.a_lacks)),
        ("in another split or class", clips.other_class, ""),
        ("with other bytes", clips.other_bytes, ""),
        ("wanted by the list of A only", clips.wanted_only_by_a, ""),
        ("wanted by the list of B only", clips.wanted_only_by_b, ""),
    ):
        if some.clips:
            yield f"{name}: {some.clips:,}"
            if reasons:
                yield f"    {reasons}"
            yield from (f"    {key}" for key in some.first)
            if some.first and some.clips > len(some.first):
                yield f"    and {some.clips - len(some.first):,} more; --keys names them"


def _reasons(side: str, counts: dict[str, int]) -> str:
    return one_line(f"in {side}: {', '.join(f'{count:,} {why}' for why, count in counts.items())}") if counts else ""


def _changes(name: str, changes: Sequence["Change"]) -> Iterator[str]:
    if not changes:
        return
    yield f"by {name}, largest difference first:"
    for change in changes[:_SHOWN]:
        yield f"    {_change(change, with_label=name == 'class')}"
    if len(changes) > _SHOWN:
        yield f"    and {len(changes) - _SHOWN:,} more; --json has all"


def _change(change: "Change", *, with_label: bool) -> str:
    place = f"{change.split}, {change.label or '(no label)'}" if with_label else change.split
    counts = {
        "only in A": change.only_a,
        "only in B": change.only_b,
        "in another split or class": change.other_class,
        "with other bytes": change.other_bytes,
    }
    parts = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return one_line(f"{place}: A {change.usable_a:,}, B {change.usable_b:,}" + (f"; {parts}" if parts else ""))
