"""Results as a Markdown page: the accuracies as the I3D paper's Table 2 has them, then all numbers.

Rows are architectures, each once for every way of transfer (which are columns in the paper's Table 4); columns are the
streams of each test.
"""

from collections.abc import Callable, Sequence

from i3d_train.config import TRANSFERS
from i3d_train.confusion import CSV_NAME, PICTURE_NAME, Confusion
from i3d_train.results import FUSIONS, Results
from preprocess.console import printable
from preprocess.errors import InvalidInput

PAGE_NAME = "results.md"

ARCHITECTURES = {
    "convnet_lstm": "(a) LSTM",
    "c3d": "(b) 3D-ConvNet",
    "two_stream": "(c) Two-Stream",
    "fused": "(d) 3D-Fused",
    "i3d": "(e) Two-Stream I3D",
}
"""Model to its row in the paper's Table 2, in that order; other models come after them."""
_STREAMS = {"rgb": "RGB", "flow": "Flow", "both": "RGB + Flow"}
_PAIRS = 20
"""Confusions that are named."""
_Row = tuple[str, str | None]
"""Of the first table: model and way of transfer."""
_Place = tuple[_Row, str, str]
"""In the first table: row, test and stream."""


def results_page(results: Sequence[Results], *, confusion: Confusion | None = None) -> str:
    """The page.

    Args:
        results: any, of any tests; at least one.
        confusion: of the last of them, whose table and picture lie beside the page.

    Raises:
        InvalidInput: as `by_place`.
    """
    parts = ["# Results", _table_2(results), "## All numbers", _numbers(results), _note(results)]
    if confusion is not None:
        parts += [f"## Confusion: {printable(results[-1].tested.name)}", f"![confusion matrix]({PICTURE_NAME})"]
        parts += [f"The counts are in [{CSV_NAME}]({CSV_NAME}).", _pairs(confusion)]
    for one in results:
        if one.most_wrong:
            parts += [f"## Most wrong: {printable(one.tested.name)}, {printable(one.tested.where)}", _most_wrong(one)]
    return "\n\n".join(parts) + "\n"


def by_place(results: Sequence[Results]) -> dict[_Place, list[Results]]:
    """Results by their place in the first table, of which the two ways of fusion share one.

    Raises:
        InvalidInput: two others do: they are of the same network, stream, way of transfer and test.
    """
    found: dict[_Place, list[Results]] = {}
    for one in results:
        tested = one.tested
        rivals = found.setdefault(((tested.model, tested.transfer), tested.where, tested.stream), [])
        for other in rivals:
            if {tested.fusion, other.tested.fusion} != set(FUSIONS):
                raise InvalidInput(
                    f"two results are of {tested.name} on {tested.where}: {_told_apart(other)} and "
                    f"{_told_apart(one)}; leave one of them out"
                )
        rivals.append(one)
    return found


def _table_2(results: Sequence[Results]) -> str:
    # the sum of logits is the released code's fusion, and this table has room for one
    cells = {
        place: max(found, key=lambda one: one.tested.fusion == "sum") for place, found in by_place(results).items()
    }
    tests = list(dict.fromkeys(where for _, where, _ in cells))
    named = sorted({row for row, _, _ in cells}, key=_order)
    head = ["Architecture", *(f"{where}: {column}" for where in tests for column in _STREAMS.values())]
    rows = [
        [
            ", ".join([ARCHITECTURES.get(model, model), *([transfer] if transfer else [])]),
            *(_percent(cells.get(((model, transfer), where, stream))) for where in tests for stream in _STREAMS),
        ]
        for model, transfer in named
    ]
    return f"Top-1 accuracy in percent.\n\n{_table(head, rows)}"


def _order(row: _Row) -> tuple[int, str, int]:
    model, transfer = row
    # a model that the paper does not have comes after those that it has
    return [*ARCHITECTURES, model].index(model), model, (None, *TRANSFERS).index(transfer)


def _numbers(results: Sequence[Results]) -> str:
    return _table(list(_COLUMNS), [[str(column(one)) for column in _COLUMNS.values()] for one in results])


def _note(results: Sequence[Results]) -> str:
    lines = ["Accuracies in percent, loss as cross-entropy in nats."]
    for one in results:
        name = f"{printable(one.tested.name)} on {printable(one.tested.where)}"
        if one.unlabelled:
            lines.append(f"{one.unlabelled} clips have no label, and are in no number of {name}.")
        if one.missing:
            lines.append(f"{one.missing} clips were in no shard or could not be read, and are in no number of {name}.")
    if any(one.tested.views == 1 and one.tested.frames is not None for one in results):
        lines.append("One view: the middle of a clip, looped where it is shorter than the window, centre crop.")
    if any(one.tested.views == 1 and one.tested.frames is None for one in results):
        lines.append("One view of all frames: a clip from its first to its last, centre crop.")
    if any(one.tested.views > 1 for one in results):
        lines.append("Several views: the mean of their probabilities.")
    if any(one.tested.fusion for one in results):
        lines.append("The first table has the sum of logits where there are both fusions.")
    return " ".join(lines)


def _pairs(confusion: Confusion) -> str:
    pairs = confusion.worst_pairs(_PAIRS)
    if not pairs:
        return "No clip was taken for another class."
    return _table(["Class", "Taken for", "Clips"], [[label, answer, str(clips)] for label, answer, clips in pairs])


def _most_wrong(one: Results) -> str:
    rows = [[f"{clip.loss:.3f}", clip.key, clip.label, clip.answer] for clip in one.most_wrong]
    return _table(["Loss", "Clip", "Class", "Answer"], rows)


def _percent(one: Results | None) -> str:
    return "-" if one is None else f"{100 * one.top1:.1f}"


def _weights(one: Results) -> str:
    return " + ".join(one.tested.weights)


def _told_apart(one: Results) -> str:
    tested = one.tested
    return (
        f"{_weights(one)} (frames {tested.frames or 'all'}, crop {tested.crop}, windows {tested.windows}, "
        f"crops {tested.crops})"
    )


_COLUMNS: dict[str, Callable[[Results], object]] = {
    "Network": lambda one: one.tested.name,
    "Test": lambda one: one.tested.where,
    "Clips": lambda one: one.clips,
    "Top-1": lambda one: f"{100 * one.top1:.2f}",
    "Top-5": lambda one: f"{100 * one.top5:.2f}",
    "Mean per class": lambda one: f"{100 * one.mean_class:.2f}",
    "Loss": lambda one: f"{one.loss:.4f}",
    "Frames": lambda one: one.tested.frames or "all",
    "Crop": lambda one: one.tested.crop,
    "Windows": lambda one: one.tested.windows,
    "Crops": lambda one: one.tested.crops,
    "Weights": _weights,
}
"""Of the table of all numbers."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\\", "\\\\").replace("|", "\\|")
