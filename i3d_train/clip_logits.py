"""The logits of each clip of a split, by its key: what fusing two networks, or looking closer, needs of an evaluation.

Shapes: N = clips, K = classes.
"""

import io
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)

from i3d_train.archive import MALFORMED
from i3d_train.data import UNLABELLED
from i3d_train.scoring import NOT_FINITE_REMEDY, Scores
from preprocess.errors import InvalidInput
from preprocess.paths import publish

LOGITS_NAME = "logits.npz"

_ARRAYS = {"classes": (1, "U"), "keys": (1, "U"), "labels": (1, "i"), "logits": (2, "f")}
"""Name in the file to number of dimensions and kind of numbers."""


@dataclass(frozen=True, kw_only=True)
class ClipLogits:
    """A network's answer for each clip."""

    classes: tuple[str, ...]
    """Names, in the order of the logits."""
    keys: tuple[str, ...]
    """Of the clips, each once."""
    labels: np.ndarray
    """int64 [N], index of the right class, -1 where the clip has no label."""
    logits: np.ndarray
    """float32 [N, K]. Of a clip seen in several views it is the logarithm of their mean probabilities."""

    def __len__(self) -> int:
        return len(self.keys)

    def write(self, path: Path) -> None:
        """Publish as `.npz`, without compression: logits have hardly any redundancy.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        buffer = io.BytesIO()
        np.savez(
            buffer,
            classes=np.array(self.classes, dtype=np.str_),
            keys=np.array(self.keys, dtype=np.str_),
            labels=self.labels,
            logits=self.logits,
        )
        publish(path, buffer.getbuffer())

    @classmethod
    def read(cls, path: Path) -> "ClipLogits":
        """Read what `write` wrote.

        Raises:
            InvalidInput: no such file, damaged, or not of this form.
        """
        try:
            # opened here: numpy leaves a file open that it cannot read
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in _ARRAYS}
        except MALFORMED as error:
            raise InvalidInput(
                f"logits {path} cannot be read ({error}); run `i3d_train evaluate` with --out again"
            ) from error
        for name, (dimensions, kind) in _ARRAYS.items():
            found = arrays[name]
            if found.ndim != dimensions or found.dtype.kind != kind:
                raise InvalidInput(f"{path}: {name} is {found.dtype} {list(found.shape)}; evaluate again")
        read = cls(
            classes=tuple(arrays["classes"].tolist()),
            keys=tuple(arrays["keys"].tolist()),
            labels=arrays["labels"].astype(np.int64),
            logits=arrays["logits"].astype(np.float32),
        )
        read._check(path)
        return read

    def scores(self) -> Scores:
        """Loss and accuracies of the labelled clips."""
        scores = Scores()
        scores.add(torch.from_numpy(self.logits), torch.from_numpy(self.labels))
        return scores

    def losses(self) -> np.ndarray:
        """float32 [N], cross-entropy of each clip in nats; nan where it has no label."""
        labels = torch.from_numpy(self.labels)
        known = labels != UNLABELLED
        losses = torch.full((len(self),), torch.nan)
        losses[known] = F.cross_entropy(torch.from_numpy(self.logits)[known], labels[known], reduction="none")
        return losses.numpy()

    def _check(self, path: Path) -> None:
        shape = (len(self.keys), len(self.classes))
        if not self.keys or self.logits.shape != shape or self.labels.shape != shape[:1]:
            raise InvalidInput(
                f"{path} has {len(self.keys)} keys, {len(self.classes)} classes, {len(self.labels)} labels and logits "
                f"{list(self.logits.shape)}, which do not belong together; evaluate again"
            )
        if twice := [key for key, count in Counter(self.keys).items() if count > 1]:
            raise InvalidInput(f"{path} has clip {twice[0]!r} more than once ({len(twice)} such clips); evaluate again")
        if not np.isfinite(self.logits).all():
            raise InvalidInput(f"{path} holds logits that are not finite; evaluate again, with --precision fp32")
        if not UNLABELLED <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise InvalidInput(
                f"{path} has labels {self.labels.min()} to {self.labels.max()} for {len(self.classes)} classes; "
                f"evaluate again"
            )


class ViewAverage:
    """Logits of clips as they come, batch after batch; several views of a clip become one answer.

    The probabilities of views are averaged, not their logits (Feichtenhofer et al., "SlowFast Networks for Video
    Recognition", ICCV 2019, section 4: "average the softmax scores").

    Args:
        views: of each clip.
    """

    def __init__(self, views: int) -> None:
        self._views = views
        self._rows: dict[str, torch.Tensor] = {}
        self._labels: dict[str, int] = {}
        self._seen: Counter[str] = Counter()

    def __len__(self) -> int:
        """Clips whose views have all been seen."""
        return self._seen.total() // self._views

    def add(self, keys: list[str], labels: list[int], logits_BK: torch.Tensor) -> None:
        """Count in a batch.

        Args:
            keys: of the clips; that of a clip comes once for each of its views.
            labels: index of the right logit, -1 where it is unknown.
            logits_BK: float.

        Raises:
            InvalidInput: a logit is not finite.
        """
        finite = torch.isfinite(logits_BK).all(dim=1).tolist()
        if not all(finite):
            raise InvalidInput(
                f"the network's logits for clip {keys[finite.index(False)]} are not finite; {NOT_FINITE_REMEDY}"
            )
        for key, label, row_K in zip(keys, labels, logits_BK.float().cpu(), strict=True):
            self._seen[key] += 1
            self._labels[key] = label
            # the logits themselves of a single view: their sum over two networks is what late fusion needs
            part_K = row_K.log_softmax(0) if self._views > 1 else row_K
            self._rows[key] = torch.logaddexp(self._rows[key], part_K) if key in self._rows else part_K.clone()

    def result(self, classes: tuple[str, ...], *, partial: bool = False) -> ClipLogits:
        """The answers for all clips, in the order in which they first came.

        Args:
            classes: names, in the order of the logits.
            partial: leave out a clip of which views are missing, because they could not be read.

        Raises:
            InvalidInput: there is none, or one came more or less often than it has views: two clips share a key.
        """
        if partial:
            for key in [key for key, count in self._seen.items() if count < self._views]:
                del self._rows[key], self._labels[key], self._seen[key]
        if wrong := [key for key, count in self._seen.items() if count != self._views]:
            raise InvalidInput(
                f"clip {wrong[0]!r} came {self._seen[wrong[0]]} times instead of {self._views} ({len(wrong)} such "
                f"clips): keys of a split must differ; make the shards again from a list without repeated keys"
            )
        if not self._rows:
            raise InvalidInput("no clip has an answer for all of its views; see the warnings for what was skipped")
        logits_NK = torch.stack(list(self._rows.values())) - math.log(self._views)
        return ClipLogits(
            classes=classes,
            keys=tuple(self._rows),
            labels=np.array(list(self._labels.values()), dtype=np.int64),
            logits=logits_NK.numpy(),
        )
