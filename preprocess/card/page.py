"""The card as a page of Markdown, `card.md`, for a code-hosting site."""

from collections.abc import Container, Iterable, Sequence

from preprocess.card.clips import CARD_CLIPS_NAME
from preprocess.card.content import Card, ClassCount, Share, ordered_splits, short
from preprocess.excerpt import markdown
from preprocess.words import size


def card_page(card: Card) -> str:
    """The whole page: hashes to compare first, the long table of classes last."""
    title = f"Data set card: {markdown(card.dataset)}" if card.dataset else "Data set card"
    sections = [
        f"# {title}",
        _identity(card),
        "## Usable clips",
        _splits(card),
        "## From the list to the clips" if card.from_list else "## From the manifest to the clips",
        _rows(card),
        *(["## Lists", _lists(card)] if card.lists else []),
        *(["## Missing clips", _missing(card)] if card.missing else []),
        *(["## Refused rows", _refused(card)] if card.refused else []),
        "## Content",
        _content(card),
        "## Classes",
        _classes(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _identity(card: Card) -> str:
    identity = card.identity
    table = _table(
        ["hash", "of", "clips", "equal hashes mean"],
        [
            [f"`{short(identity.usable)}`", "usable clips", f"{card.usable:,}", "the same clips"],
            [f"`{short(identity.labels)}`", "their splits and classes", "", "each in the same split and class"],
            [f"`{short(identity.files)}`", "their files", "", "each the same file, byte for byte"],
            [f"`{short(identity.wanted)}`", "wanted clips", f"{card.rows.wanted:,}", "the same was asked for"],
        ],
        right={2},
    )
    explained = (
        "Two folders whose hash of usable clips is equal hold the same clips; name it beside every number measured on "
        f"them. Where hashes differ, `preprocess card diff` says in what, best with the `{CARD_CLIPS_NAME}` that "
        "belongs to this card."
    )
    notes = []
    if not card.from_list:
        notes.append(
            "This folder has no `list.json`: the card is made from its manifest alone, and what the manifest does not "
            "name is not counted as missing."
        )
    if card.unlisted.usable or card.unlisted.missing:
        notes.append(
            f"The folder holds {card.unlisted.usable:,} usable clips that its list does not ask for; they are counted "
            f"as usable. {card.unlisted.missing:,} more of the kind could not be had and are not counted."
        )
    if card.moved:
        notes.append(f"{card.moved:,} usable clips lie in another split or class than the list says.")
    return "\n\n".join([explained, table, *notes])


def _splits(card: Card) -> str:
    rows = []
    for split in ordered_splits(card.splits):
        count = card.splits[split]
        had = f"{100 * (1 - count.missing / count.wanted):.1f} %" if count.wanted else "-"
        digest = f"`{short(card.identity.usable_by_split[split])}`" if count.usable else "-"
        rows.append([markdown(split), f"{count.wanted:,}", f"{count.usable:,}", f"{count.missing:,}", had, digest])
    header = ["split", "wanted", "usable", "missing", "had", "hash of usable"]
    return _table(header, rows, right={1, 2, 3, 4})


def _rows(card: Card) -> str:
    rows = card.rows
    listed = (
        ["rows of the lists", f"{rows.listed:,}"] if card.from_list else ["clips of the manifest", f"{rows.listed:,}"]
    )
    steps = [
        listed,
        ["refused rows", f"- {rows.refused:,}"],
        ["not selected, by split, class or limit", f"- {rows.not_selected:,}"],
        ["**wanted clips**", f"**{rows.wanted:,}**"],
        *([f"missing: {_kind(m.outcome, m.cause)}", f"- {m.clips:,}"] for m in card.missing),
        *([["usable, though in no list", f"+ {card.unlisted.usable:,}"]] if card.unlisted.usable else []),
        ["**usable clips**", f"**{card.usable:,}**"],
    ]
    if not card.from_list:
        del steps[1:3]
    return _table(["", "clips"], steps, right={1})


def _lists(card: Card) -> str:
    rows = [[markdown(entry.name), f"{entry.rows:,}", markdown(entry.sha256)] for entry in card.lists]
    return _table(["list", "rows", "sha256"], rows, right={1})


def _missing(card: Card) -> str:
    rows = [
        [markdown(m.outcome), markdown(m.cause), f"{m.clips:,}", f"{markdown(m.example_key)}: {markdown(m.example)}"]
        for m in card.missing
    ]
    return _table(["outcome", "cause", "clips", "for example"], rows, right={2})


def _refused(card: Card) -> str:
    rows = [
        [f"{r.rows:,}", f"{markdown(r.example_list)}, line {r.example_line}: {markdown(r.example)}"]
        for r in card.refused
    ]
    return _table(["rows", "for example"], rows, right={0})


def _content(card: Card) -> str:
    content = card.content
    rows = [
        ["duration", f"{content.seconds:,.0f} s, {content.seconds / 3600:,.2f} hours"],
        ["frames", f"{content.frames:,}"],
        ["size", size(content.bytes)],
        ["width x height", _shares(content.frame_sizes)],
        ["frames a second", _shares(content.frame_rates)],
        ["source", _shares(content.sources)],
        ["with still stretches", f"{content.frozen.clips:,} clips, {content.frozen.seconds:,.1f} s"],
        ["with black stretches", f"{content.black.clips:,} clips, {content.black.seconds:,.1f} s"],
    ]
    return _table(["of the usable clips", ""], rows)


def _classes(card: Card) -> str:
    splits = ordered_splits(card.splits)
    rows = [
        [
            markdown(entry.label) if entry.label is not None else "(no label)",
            *(_of_class(entry, split) for split in splits),
        ]
        for entry in card.classes
    ]
    header = ["class", *map(markdown, splits)]
    table = _table(header, rows, right=set(range(1, len(header))))
    return f"{len(rows):,} classes, usable of wanted clips.\n\n{table}"


def _of_class(entry: ClassCount, split: str) -> str:
    count = entry.splits.get(split)
    return f"{count.usable:,} of {count.wanted:,}" if count else "-"


def _shares(shares: Iterable[Share]) -> str:
    return ", ".join(f"{markdown(share.value)} ({share.clips:,})" for share in shares) or "-"


def _kind(outcome: str, cause: str) -> str:
    return markdown(f"{outcome} ({cause})" if cause else outcome)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = ()) -> str:
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
