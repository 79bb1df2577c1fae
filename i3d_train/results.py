"""What an evaluation found, as a record that is written down, read back, fused and averaged over folds."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from i3d_train.clip_logits import ClipLogits
from i3d_train.config import TRANSFERS
from i3d_train.data import UNLABELLED
from i3d_train.scoring import ClassScore
from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.typed_json import read_document

RESULTS_NAME = "results.json"
FORMAT = "kineflow-results"
VERSION = 1

FUSIONS = {"sum": "sum of logits", "mean": "averaged probabilities"}
"""Ways of late fusion, and what each is called in print."""


@dataclass(frozen=True, kw_only=True)
class WrongClip:
    """A clip that the network got wrong."""

    key: str
    label: str
    answer: str
    """The class with the largest logit."""
    loss: float
    """Cross-entropy, in nats."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was tested, on what, and how."""

    model: str
    """A key of `i3d_train.models.MODELS`."""
    stream: str
    """`rgb`, `flow` or `both`."""
    fusion: str | None = None
    """How two networks were fused, a key of `FUSIONS`; None for one network."""
    transfer: str | None = None
    """How the network came from another data set, one of `TRANSFERS`; None where its weights do not say."""
    weights: tuple[str, ...]
    """Names of the files."""
    dataset: str
    split: str
    folds: tuple[int, ...] = ()
    """Official split of UCF-101 or HMDB-51, from 1; several where this is their mean; empty for other data sets."""
    frames: int | None
    """Consecutive frames of a view; None is all that a clip has."""
    crop: int
    """Pixels of the square crop."""
    windows: int = 1
    """Of each clip; the probabilities of all its views, windows times crops, were averaged."""
    crops: int = 1
    """Of each window."""

    @property
    def views(self) -> int:
        """Of each clip."""
        return self.windows * self.crops

    @property
    def where(self) -> str:
        """Data set, split and folds, as one phrase."""
        folds = ", ".join(map(str, self.folds))
        return f"{self.dataset} {self.split}" + {0: "", 1: f", fold {folds}"}.get(
            len(self.folds), f", mean of folds {folds}"
        )

    @property
    def name(self) -> str:
        """Model, stream, transfer and fusion, as one phrase."""
        transfer = "" if self.transfer is None else f", {self.transfer}"
        fusion = "" if self.fusion is None else f", {FUSIONS[self.fusion]}"
        return f"{self.model} {self.stream}{transfer}{fusion}"


@dataclass(frozen=True, kw_only=True)
class Results:
    """How one network, or two fused late, did on one split."""

    tested: Trial
    clips: int
    """Scored clips; of several folds all together."""
    unlabelled: int
    """Clips without a label, not scored."""
    missing: int = 0
    """Clips that no shard has or that could not be read, not scored."""
    loss: float
    """Mean cross-entropy, in nats; of several folds their mean, like the accuracies."""
    top1: float
    """Share of clips, 0 to 1, whose label got the largest logit."""
    top5: float
    mean_class: float
    """Mean over classes of each class's top-1, 0 to 1."""
    classes: dict[str, ClassScore]
    """By class name, in the order of the logits; only classes that have a clip."""
    most_wrong: tuple[WrongClip, ...] = ()
    """Wrong answers with the highest loss, the highest first."""

    @classmethod
    def of(cls, tested: Trial, answers: ClipLogits, *, most_wrong: int, missing: int = 0) -> "Results":
        """The numbers of these answers.

        Args:
            tested: what gave them.
            answers: of the clips.
            most_wrong: how many clips to name at most.
            missing: clips that should have been tested and are in no shard or cannot be read.

        Raises:
            InvalidInput: none of them has a label.
        """
        scores = answers.scores()
        if not scores.clips:
            raise InvalidInput(f"none of the {len(answers)} clips that have an answer has a label to score against")
        return cls(
            tested=tested,
            clips=scores.clips,
            unlabelled=scores.unlabelled,
            missing=missing,
            loss=scores.loss,
            top1=scores.top1,
            top5=scores.top5,
            mean_class=scores.mean_class,
            classes={answers.classes[label]: scores.classes[label] for label in sorted(scores.classes)},
            most_wrong=_most_wrong(answers, most_wrong),
        )


@dataclass(frozen=True, kw_only=True)
class _Document:
    results: tuple[Results, ...]


def write_results(folder: Path, results: Sequence[Results]) -> Path:
    """Publish `results.json` of a folder; returns its path.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    record = {"format": FORMAT, "version": VERSION, "results": [asdict(one) for one in results]}
    path = folder / RESULTS_NAME
    publish(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read_results(path: Path) -> list[Results]:
    """Read what `write_results` wrote.

    Args:
        path: the file, or its folder.

    Raises:
        InvalidInput: no such file, damaged, of another form or of a later version.
    """
    file = path / RESULTS_NAME if path.is_dir() else path
    found = read_document(
        _Document,
        file,
        format_=FORMAT,
        version=VERSION,
        name="record of an evaluation",
        remedy="give a folder that `i3d_train evaluate --out` wrote",
    ).results
    for one in found:
        for name, known in (("fusion", tuple(FUSIONS)), ("transfer", TRANSFERS)):
            if (value := getattr(one.tested, name)) not in (None, *known):
                raise InvalidInput(f"{file} has {name} {value!r}, this one knows {', '.join(known)}; evaluate again")
        if empty := [label for label, score in one.classes.items() if score.clips < 1]:
            raise InvalidInput(f"{file} has class {empty[0]!r} without a clip; evaluate again")
    return list(found)


def _most_wrong(answers: ClipLogits, count: int) -> tuple[WrongClip, ...]:
    losses = answers.losses()
    answer_of = answers.logits.argmax(axis=1)
    wrong = [row for row in range(len(answers)) if answers.labels[row] not in (UNLABELLED, answer_of[row])]
    # keys decide between equal losses, so that the list does not depend on the order of the clips
    wrong.sort(key=lambda row: (-losses[row], answers.keys[row]))
    return tuple(
        WrongClip(
            key=answers.keys[row],
            label=answers.classes[answers.labels[row]],
            answer=answers.classes[answer_of[row]],
            loss=float(losses[row]),
        )
        for row in wrong[:count]
    )
