"""Accuracy of weights on a split of shards.

Shapes: B = clips, K = classes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from i3d_train import weights
from i3d_train.config import DEVICES, LOADERS, PRECISIONS, check_at_least, check_choice
from i3d_train.data import UNLABELLED, DataConfig, check_scoring, note_small_crop, open_batches
from i3d_train.device import choose_device, choose_precision
from i3d_train.events import Observer, Scored, ignore
from i3d_train.labels import class_names
from i3d_train.models import build
from i3d_train.scoring import Answer, ClassScore, Scores, answers
from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.shards.layout import SPLITS

_TOP = 5


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which weights to score on what."""

    shards: Path
    """Folder of `index.json`."""
    weights: Path
    """`.npz` of a released network or `.pt` of a run."""
    split: str = "val"
    """`train`, `val` or `test`."""
    stream: str | None = None
    """What the weights are expected to be for; None takes their word."""
    frames: int = 250
    """Consecutive frames around the middle of a clip, looped where it is shorter; the original sees 250."""
    crop: int = 224
    """Pixels of the square centre crop."""
    batch_size: int = 4
    """Clips a forward pass."""
    labels: Path | None = None
    """Class names of the weights, one a line, where they carry none."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`: a GPU where there is one."""
    precision: str = "auto"
    """`bf16`, `fp32`, or `auto`: bf16 on a GPU."""
    loader: str = "auto"
    """`dali`, `torch`, or `auto`: DALI where it is installed."""
    threads: int = 4
    """CPU threads that decode."""
    predictions: Path | None = None
    """Write each clip's answer to this file, one JSON line a clip."""

    def __post_init__(self) -> None:
        choices = {"device": DEVICES, "precision": PRECISIONS, "loader": LOADERS, "split": SPLITS}
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        for name in ("frames", "crop", "batch_size", "threads"):
            check_at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy on a split."""

    clips: int
    """Scored clips."""
    unlabelled: int
    """Clips without a label, not scored."""
    loss: float
    """Mean cross-entropy, in nats."""
    top1: float
    """Share of clips, 0 to 1, whose label got the largest logit."""
    top5: float
    classes: dict[str, ClassScore]
    """By class name, in the order of the logits; only classes that have a clip."""


def evaluate(config: EvaluateConfig, *, observe: Observer = ignore) -> Evaluation:
    """Score weights on a split.

    Labels are matched by name, so that shards of some of the classes, in any order, can be scored.

    Args:
        config: see `EvaluateConfig`.
        observe: called with `Scored` after each batch.

    Raises:
        InvalidInput: the weights do not fit, or a class of the shards is unknown to them.
        BadShard: the shards break their contract.
        EnvironmentProblem: no such device, or the disk is full.
    """
    info = weights.describe(config.weights)
    if config.stream not in (None, info.stream):
        raise InvalidInput(f"{config.weights} holds weights for {info.stream}, not {config.stream}; leave --stream out")
    data = DataConfig(
        shards=config.shards,
        stream=info.stream,
        frames=config.frames,
        crop=config.crop,
        batch_size=config.batch_size,
        loader=config.loader,
        threads=config.threads,
    )
    clips = check_scoring(data, split=config.split, model=info.model)
    note_small_crop(config.crop)
    names = class_names(info.num_classes, known=info.labels, file=config.labels)
    logit_of_label = _match(clips.labels, names, set(clips.clips.label.tolist()))
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    model = build(info.model, num_classes=info.num_classes, stream=info.stream)
    weights.load(model, config.weights)
    model.to(device)

    scores = Scores()
    lines: list[bytes] = []
    loader = open_batches(data, split=config.split, training=False, device=device)
    for answer in answers(model, loader, device=device, precision=precision):
        right_B = logit_of_label[answer.labels.cpu()]
        scores.add(answer.logits, right_B)
        if config.predictions is not None:
            lines += _prediction_lines(answer, right_B.tolist(), names)
        observe(Scored(done=scores.clips + scores.unlabelled, total=len(clips)))
    if config.predictions is not None:
        publish(config.predictions, lines)
    return Evaluation(
        clips=scores.clips,
        unlabelled=scores.unlabelled,
        loss=scores.loss,
        top1=scores.top1,
        top5=scores.top5,
        classes={names[label]: scores.classes[label] for label in sorted(scores.classes)},
    )


def _match(labels: tuple[str, ...], names: tuple[str, ...], used: set[int]) -> torch.Tensor:
    """int64 [len(labels) + 1]: index of the logit for each label; the last, which -1 reaches, stays -1."""
    position = {name: number for number, name in enumerate(names)}
    unknown = [labels[label] for label in sorted(used) if label >= 0 and labels[label] not in position]
    if unknown:
        raise InvalidInput(
            f"the weights know no class {', '.join(map(repr, unknown[:_TOP]))} ({len(unknown)} in all), but "
            f"{len(names)} such as {names[0]!r}; give the names that they were trained with as --labels"
        )
    return torch.tensor([*(position.get(label, UNLABELLED) for label in labels), UNLABELLED])


def _prediction_lines(answer: Answer, right: list[int], names: tuple[str, ...]) -> list[bytes]:
    lines = []
    for key, label, logits_K in zip(answer.keys, right, answer.logits.cpu(), strict=True):
        probability_K = logits_K.softmax(0)
        best = logits_K.topk(min(_TOP, len(names))).indices.tolist()
        record = {
            "key": key,
            "label": None if label == UNLABELLED else names[label],
            "top": [[names[k], round(float(probability_K[k]), 6), round(float(logits_K[k]), 4)] for k in best],
            # all of them, in the order of the classes: what fusing two networks' answers needs
            "logits": [round(value, 4) for value in logits_K.tolist()],
        }
        lines.append((json.dumps(record, ensure_ascii=False) + "\n").encode())
    return lines
