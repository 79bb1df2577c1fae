"""The folder that an evaluation writes.

results.json     the numbers, see `i3d_train.results`; written last, so that it stands for a whole folder
results.md       the same to read
logits.npz       the answer for each clip, see `i3d_train.clip_logits`; of a fusion, the sum of logits
confusion.csv    classes by answers, from those logits
confusion.png    the same as a picture
"""

from collections.abc import Sequence
from pathlib import Path

from i3d_train.clip_logits import LOGITS_NAME, ClipLogits
from i3d_train.confusion import CSV_NAME, PICTURE_NAME, Confusion
from i3d_train.results import RESULTS_NAME, Results, write_results
from i3d_train.results_page import PAGE_NAME, results_page
from preprocess.errors import EnvironmentProblem
from preprocess.paths import make_folder, publish


def write_evaluation(folder: Path, results: Sequence[Results], answers: ClipLogits | None = None) -> None:
    """Write results into a folder, in place of those that it had.

    Args:
        folder: made where it is not there.
        results: at least one.
        answers: of the last of them; None where there is no single answer a clip, as for the mean of folds.

    Raises:
        InvalidInput: two results are of the same network, stream and test.
        EnvironmentProblem: the disk is full or read-only.
    """
    confusion = None if answers is None else Confusion.of(answers)
    page = results_page(results, confusion=confusion)
    make_folder(folder)
    for name in (RESULTS_NAME, LOGITS_NAME, CSV_NAME, PICTURE_NAME):
        _remove(folder / name)
    if answers is not None and confusion is not None:
        answers.write(folder / LOGITS_NAME)
        confusion.write_csv(folder / CSV_NAME)
        tested = results[-1].tested
        confusion.draw(folder / PICTURE_NAME, title=f"{tested.name}\n{tested.where}")
    publish(folder / PAGE_NAME, page.encode())
    write_results(folder, results)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem(f"cannot replace {path}: {error.strerror}; choose another folder") from error
