"""How good a network's answers are: loss, top-1, top-5 and mean per class over a split.

Shapes: B = clips, K = classes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)

from i3d_train.data import UNLABELLED, network_input
from i3d_train.device import autocast, enough_memory
from i3d_train.models.network import Network
from pipelines import Loader

NOT_FINITE_REMEDY = "use --precision fp32, or other weights"
"""What to do where a network gives no numbers for a clip."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class of a split."""

    clips: int = 0
    top1: int = 0
    """Clips whose label got the largest logit."""
    top5: int = 0

    def __add__(self, other: "ClassScore") -> "ClassScore":
        """Of the clips of both."""
        return ClassScore(clips=self.clips + other.clips, top1=self.top1 + other.top1, top5=self.top5 + other.top5)


def added(parts: Iterable[Mapping[Any, ClassScore]]) -> dict[Any, ClassScore]:
    """The scores of each class in all parts together."""
    total: defaultdict[Any, ClassScore] = defaultdict(ClassScore)
    for part in parts:
        for name, score in part.items():
            total[name] += score
    return dict(total)


@dataclass(kw_only=True)
class Scores:
    """Counts over the labelled clips seen so far."""

    unlabelled: int = 0
    """Clips without a label; in no other number."""
    loss_sum: float = 0.0
    classes: dict[int, ClassScore] = field(default_factory=dict)
    """By index of the logit; only classes that have a clip."""

    def __add__(self, other: "Scores") -> "Scores":
        """Of the clips of both."""
        return Scores(
            unlabelled=self.unlabelled + other.unlabelled,
            loss_sum=self.loss_sum + other.loss_sum,
            classes=added([self.classes, other.classes]),
        )

    @property
    def clips(self) -> int:
        """With a label."""
        return sum(score.clips for score in self.classes.values())

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return self.loss_sum / self.clips

    @property
    def top1(self) -> float:
        """Share of clips, 0 to 1, whose label got the largest logit."""
        return sum(score.top1 for score in self.classes.values()) / self.clips

    @property
    def top5(self) -> float:
        """Share of clips, 0 to 1, whose label is among the five largest logits."""
        return sum(score.top5 for score in self.classes.values()) / self.clips

    @property
    def mean_class(self) -> float:
        """Mean over the classes that have a clip of the share of their clips, 0 to 1, that top-1 counts."""
        return sum(score.top1 / score.clips for score in self.classes.values()) / len(self.classes)

    def add(self, logits_BK: torch.Tensor, label_B: torch.Tensor) -> None:
        """Count some clips.

        Args:
            logits_BK: float, on any device.
            label_B: int64, index of the right logit, or -1 where it is unknown.
        """
        logits_BK, label_B = logits_BK.float().cpu(), label_B.cpu()
        known = label_B != UNLABELLED
        self.unlabelled += int((~known).sum())
        logits_BK, label_B = logits_BK[known], label_B[known]
        self.loss_sum += float(F.cross_entropy(logits_BK, label_B, reduction="sum"))
        best_B5 = ranked(logits_BK)[:, :5]
        # nan would rank first: a network that diverged is right about nothing
        best_B5[~logits_BK.isfinite().all(dim=1)] = UNLABELLED
        for label, best in zip(label_B.tolist(), best_B5.tolist(), strict=True):
            one = ClassScore(clips=1, top1=int(label == best[0]), top5=int(label in best))
            self.classes[label] = self.classes.get(label, ClassScore()) + one


def ranked(logits: torch.Tensor) -> torch.Tensor:
    """Classes from the largest logit to the smallest; of equal ones the first, as NumPy's `argmax` has it.

    Args:
        logits: float [..., K].

    Returns:
        int64 of the same shape.
    """
    return logits.argsort(dim=-1, descending=True, stable=True)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A network's logits for one batch."""

    keys: list[str]
    labels: torch.Tensor
    """int64 [B], as stored in the shards."""
    logits: torch.Tensor
    """float32 [B, K]."""


def answers(model: Network, loader: Loader, *, device: torch.device, precision: str) -> Iterator[Answer]:
    """Logits for the clips of one epoch of `loader`, in evaluation mode; the mode is restored after it.

    Raises:
        EnvironmentProblem: the memory of the device is too small for a batch.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in loader:
            memory = enough_memory(device, clips=len(batch["key"]), remedy="a smaller --batch-size, or fewer --frames")
            with memory, torch.inference_mode(), autocast(device, precision):
                logits_BK = model(
                    network_input(batch, stream=model.stream, device=device, sampling=model.sampling)
                ).float()
            yield Answer(keys=batch["key"], labels=batch["label"], logits=logits_BK)
    finally:
        model.train(was_training)


def score(
    model: Network, loader: Loader, *, device: torch.device, precision: str, scored: Callable[[int], None]
) -> Scores:
    """Scores of one epoch of `loader`, labelled by index of the logit; tells `scored` the clips so far."""
    scores = Scores()
    for answer in answers(model, loader, device=device, precision=precision):
        scores.add(answer.logits, answer.labels)
        scored(scores.clips + scores.unlabelled)
    return scores
