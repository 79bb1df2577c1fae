"""The folder of a run: configuration, numbers, pictures and checkpoints. Only process 0 has one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i3d_train import checkpoint
from i3d_train.checkpoint import Checkpoint
from i3d_train.config import TrainConfig
from i3d_train.curves import CURVE_NAME, draw_loss
from i3d_train.events import Event, StepDone, Validated
from i3d_train.metrics import METRICS_NAME, MetricsFile
from i3d_train.tensorboard_log import FOLDER_NAME as TENSORBOARD_NAME
from i3d_train.tensorboard_log import TensorBoardLog
from preprocess.address import folder_name
from preprocess.errors import InvalidInput
from preprocess.paths import exclusive, make_folder, publish, swept

CONFIG_NAME = "config.json"


class RunFolder:
    """Where a run is written down; to be closed at its end.

    Args:
        config: of the run.
        step: steps done so far; what an earlier process wrote about later ones is dropped.
        validated: step of the latest validation so far; likewise.

    Attributes:
        metrics: the numbers of all steps so far.
    """

    def __init__(self, config: TrainConfig, *, step: int, validated: int) -> None:
        self._config = config
        self._tensorboard = TensorBoardLog(config.out, step=step) if config.tensorboard else None
        self.metrics = MetricsFile(config.out, step=step, validated=validated)

    def describe(self) -> None:
        """Write down the configuration; that of a finished run stays as it was."""
        publish(self._config.out / CONFIG_NAME, (json.dumps(self._config.to_json(), indent=1) + "\n").encode())

    def note(self, event: Event) -> None:
        """Write down a step or a validation."""
        match event:
            case StepDone():
                self.metrics.append(_step_record(event))
            case Validated():
                self.metrics.append(_validation_record(event))
        if self._tensorboard is not None:
            self._tensorboard.note(event)

    def save(self, saved: Checkpoint) -> Path:
        """Publish a checkpoint, delete what is too old, and draw the curves anew."""
        path = checkpoint.save(self._config.out, saved, keep=self._config.keep)
        title = f"{self._config.model} {self._config.stream} on {folder_name(self._config.shards)}"
        draw_loss(self.metrics, self._config.out, title=title)
        return path

    def save_best(self, saved: Checkpoint) -> Path:
        """Publish the best checkpoint so far."""
        return checkpoint.save_best(self._config.out, saved)

    def close(self) -> None:
        """Write what TensorBoard's files lack still."""
        if self._tensorboard is not None:
            self._tensorboard.close()

    def files(self) -> tuple[Path, ...]:
        """What the run has written there; files of others may lie beside them."""
        out = self._config.out
        written = [out / name for name in (CONFIG_NAME, METRICS_NAME, CURVE_NAME, checkpoint.BEST_NAME)]
        written += [checkpoint.checkpoint_path(out, step) for step in checkpoint.saved_steps(out)]
        if self._tensorboard is not None:
            written.append(out / TENSORBOARD_NAME)
        return tuple(sorted(path for path in written if path.exists()))


@contextmanager
def reserved(out: Path, *, resume: bool) -> Iterator[None]:
    """Keep other runs out of a folder.

    Raises:
        InvalidInput: it holds a run, and this one does not go on with it.
        EnvironmentProblem: the folder cannot be made or written, or another process trains in it.
    """
    if not resume and (checkpoint.saved_steps(out) or (out / checkpoint.BEST_NAME).exists()):
        raise InvalidInput(f"{out} holds the checkpoints of a run; add --resume to go on, or use another --out")
    make_folder(out)
    with exclusive(out), swept(out):
        yield


def _step_record(done: StepDone) -> dict[str, float | None]:
    return {
        "step": done.step,
        "loss": done.loss,
        "lr": done.lr,
        "gradient_norm": done.gradient_norm,
        "clips_per_s": round(done.clips_per_s, 3),
        "wait_share": round(done.wait_share, 4),
        "memory_bytes": done.memory_bytes,
    }


def _validation_record(validated: Validated) -> dict[str, float]:
    return {
        "step": validated.step,
        "val_loss": validated.loss,
        "val_top1": validated.top1,
        "val_top5": validated.top5,
        "val_clips": validated.clips,
    }
