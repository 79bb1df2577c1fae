"""The numbers of a run as TensorBoard reads them; the one place that imports it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i3d_train.events import Event, RateDropped, Scored, StepDone, Validated
from preprocess.errors import EnvironmentProblem

FOLDER_NAME = "tensorboard"


class TensorBoardLog:
    """Event files in `tensorboard` of a run's folder.

    Args:
        folder: of the run.
        step: steps done so far; TensorBoard hides what was logged about later ones.

    Raises:
        EnvironmentProblem: TensorBoard is not installed, or the folder cannot be written, now or later.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EnvironmentProblem(
                f"--tensorboard: TensorBoard cannot be imported ({error}); pip install 'kineflow[tensorboard]', or "
                f"leave the option out: loss.png and metrics.jsonl are written either way"
            ) from error
        self._folder = folder / FOLDER_NAME
        with self._disk():
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def note(self, event: Event) -> None:
        """Log the numbers of an event, if it has any."""
        if isinstance(event, Scored):
            return
        with self._disk():
            for name, value in scalars(event).items():
                self._writer.add_scalar(name, value, event.step)

    def close(self) -> None:
        """Write what is still in memory."""
        with self._disk():
            self._writer.close()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        # a thread of TensorBoard writes, and what it met there is raised by the next call
        try:
            yield
        except OSError as error:
            raise EnvironmentProblem(f"cannot write {self._folder}: {error}; free space, or leave it out") from error


def scalars(event: Event) -> dict[str, float]:
    """Name to number of what is drawn of an event."""
    match event:
        case StepDone():
            found = {
                "train/loss": event.loss,
                "train/lr": event.lr,
                "speed/clips_per_s": event.clips_per_s,
                "speed/data_wait_share": event.wait_share,
                "speed/memory_GiB": event.memory_bytes / 2**30,
            }
            return found if event.gradient_norm is None else found | {"train/gradient_norm": event.gradient_norm}
        case Validated():
            return {"val/loss": event.loss, "val/top1": event.top1, "val/top5": event.top5}
        case RateDropped():
            return {"train/lr": event.lr}
        case _:
            return {}
