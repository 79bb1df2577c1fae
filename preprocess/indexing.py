"""A folder of UCF-101 or HMDB-51 videos into a folder of clips, as `preprocess flow` takes it.

Every video that the official splits name gets a line in the manifest, whichever fold it is of, so that flow is computed
once for all folds; the lists `fold1.csv`, `fold2.csv`, `fold3.csv` say what trains and what tests in each.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from preprocess.config import WorkerConfig
from preprocess.errors import Cause, InvalidInput, WorkerDied
from preprocess.folds import FOLD_LISTS, FOLDS, Folds, ListedVideo, read_folds
from preprocess.jsonl import line_of
from preprocess.outcomes import (
    MANIFEST_NAME,
    MISSING_NAME,
    REFUSED,
    ManifestEntry,
    Outcome,
    append_manifest,
    cell,
    csv_of,
    read_manifest,
)
from preprocess.paths import check_not_taken, exclusive, make_folder, publish, sweep_temporaries
from preprocess.plan import PLAN_NAME
from preprocess.video_files import VideoFile, find_files, index_file
from preprocess.workers import run_tasks

UNLISTED = "unlisted"
"""Status of a video that no list names."""

_FOLD_COLUMNS = ("key", "label", "split")
_MISSING_COLUMNS = ("list", "line", "key", "label", "split", "status", "cause", "reason")


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """How a run ended."""

    outcomes: dict[str, int]
    """Outcome to number, of all videos that the splits name."""
    splits: dict[str, int]
    """Split in the chosen fold to number of videos that are done."""
    decoded: int
    """Videos that this run decoded; the others are as an earlier run found them."""
    refused: int
    """Lines of the splits that name no video."""
    unlisted: int
    """Videos that no list names."""

    @property
    def missing(self) -> int:
        """Videos that are not done, and refused lines."""
        return sum(self.outcomes.values()) - self.outcomes.get(Outcome.DONE, 0) + self.refused


def index_videos(
    folder: Path,
    *,
    dataset: str,
    splits: Path,
    workers: WorkerConfig,
    fold: int = 1,
    out: Path | None = None,
    on_progress: Callable[[ManifestEntry, int], None] = lambda entry, total: None,
) -> IndexReport:
    """Index the videos of a data set; running again decodes only what is new or has other bytes than before.

    Args:
        folder: of the videos, at any depth.
        dataset: `ucf101` or `hmdb51`.
        splits: folder of the official split files.
        workers: with how many processes.
        fold: whose training and test videos the clips' splits tell; those that it leaves out are `extra`.
        out: where the manifest and the lists go, with hard links to the videos, or copies where no link can be made;
            None is `folder`, where the videos stay as they are.
        on_progress: called with each video that was looked at and the number of all.

    Raises:
        InvalidInput: no such folder, data set or fold, a split file is missing, none of the videos is there, or the
            manifest is of something else, or the folder holds shards.
        EnvironmentProblem: no space, no Ray, or another run holds the folder; what was done stays done.
    """
    if fold not in FOLDS:
        raise InvalidInput(f"fold must be one of {', '.join(map(str, FOLDS))}, got {fold}")
    if not folder.is_dir():
        raise InvalidInput(f"folder of videos {folder} does not exist")
    folds = read_folds(splits, dataset=dataset)
    out = folder if out is None or out.resolve() == folder.resolve() else out
    found = find_files(folder, labels={video.key: video.label for video in folds.videos}, without=out)
    if not found.listed:
        raise InvalidInput(f"{folder} has none of the {len(folds.videos)} videos that the splits of {dataset} name")
    make_folder(out)
    with exclusive(out):
        check_not_taken(out, PLAN_NAME, holds="shards")
        if out != folder and not folder.resolve().is_relative_to(out.resolve()):
            sweep_temporaries(out, subfolders=True)
        known = _known(out, folds, dataset=dataset, fold=fold)
        videos = [
            VideoFile(
                key=video.key,
                label=video.label,
                split=_split(video, fold),
                dataset=dataset,
                path=found.listed.get(video.key, ""),
                known=known.get(video.key),
            )
            for video in folds.videos
        ]
        todo = [video for video in videos if video.path]
        gone = {"cause": Cause.NOT_FOUND.value, "reason": "no video file of this name in the folder"}
        entries = {video.key: video.entry(Outcome.UNAVAILABLE, **gone) for video in videos if not video.path}
        decoded = 0
        make = partial(index_file, folder=folder.absolute(), out=out.absolute())
        reads = [folder / video.path for video in todo[:1]]
        for video, result in run_tasks(make, todo, config=workers, writes=[out], reads=reads):
            entry = (
                video.entry(Outcome.QUARANTINED, cause=result.cause.value, reason=str(result))
                if isinstance(result, WorkerDied)
                else result
            )
            entries[video.key] = entry
            if video.known is None or entry.outcome is not Outcome.DONE or entry.sha256 != video.known.sha256:
                append_manifest(out, entry)
                decoded += 1
            on_progress(entry, len(todo))
        entries = dict(sorted(entries.items()))
        _publish(out, entries, folds, found.unlisted)
    counts = Counter(entry.outcome.value for entry in entries.values())
    return IndexReport(
        outcomes={name: counts[name] for name in Outcome if counts[name]},
        splits=dict(Counter(entry.split for entry in entries.values() if entry.outcome is Outcome.DONE)),
        decoded=decoded,
        refused=len(folds.refused),
        unlisted=len(found.unlisted),
    )


def _split(video: ListedVideo, fold: int) -> str:
    return video.splits[FOLDS.index(fold)]


def _known(out: Path, folds: Folds, *, dataset: str, fold: int) -> dict[str, ManifestEntry]:
    """What an earlier run found, with the splits of this fold, in the manifest too: it must never mix two folds."""
    known = read_manifest(out)
    _check_ours(out, known)
    if others := sorted({entry.source for entry in known.values()} - {dataset}):
        raise InvalidInput(f"{out / MANIFEST_NAME} is of {others[0]!r}, not of {dataset}; choose another --out")
    adapted = {
        video.key: replace(known[video.key], label=video.label, split=_split(video, fold))
        for video in folds.videos
        if video.key in known
    }
    if adapted != known:
        _publish_manifest(out, adapted)
    return adapted


def _check_ours(out: Path, known: Mapping[str, ManifestEntry]) -> None:
    """That nothing of somebody else's is written over; a manifest of one torn line is of a run that was killed."""
    manifest = out / MANIFEST_NAME
    foreign = [manifest] if manifest.exists() and not known and b"\n" in manifest.read_bytes() else []
    headers = {**dict.fromkeys(FOLD_LISTS.values(), _FOLD_COLUMNS), MISSING_NAME: _MISSING_COLUMNS}
    for name, columns in headers.items():
        path = out / name
        if path.exists() and not path.read_bytes().startswith(",".join(columns).encode()):
            foreign.append(path)
    if foreign:
        raise InvalidInput(f"{foreign[0]} is there already and not of `preprocess index`; choose another --out")


def _publish_manifest(out: Path, entries: Mapping[str, ManifestEntry]) -> None:
    publish(out / MANIFEST_NAME, (line_of(asdict(entry)) for entry in entries.values()))


def _publish(out: Path, entries: Mapping[str, ManifestEntry], folds: Folds, unlisted: Mapping[str, str]) -> None:
    """The manifest anew, one line a video and none of videos that are gone, and the lists."""
    _publish_manifest(out, entries)
    done = {key for key, entry in entries.items() if entry.outcome is Outcome.DONE}
    for fold in FOLDS:
        rows = [(video.key, video.label, _split(video, fold)) for video in folds.videos if video.key in done]
        publish(out / FOLD_LISTS[fold], csv_of([_FOLD_COLUMNS, *rows]))
    missing = [
        ("", "", cell(entry.key), entry.label, entry.split, entry.outcome.value, entry.cause, cell(entry.reason))
        for entry in entries.values()
        if entry.outcome is not Outcome.DONE
    ]
    refused = [
        (row.list_name, row.line, "", "", "", REFUSED, "", f"{row.reason}: {','.join(row.row)!r}")
        for row in folds.refused
    ]
    others = [("", "", "", "", "", UNLISTED, "", f"{why}: {path}") for path, why in unlisted.items()]
    publish(out / MISSING_NAME, csv_of([_MISSING_COLUMNS, *missing, *refused, *others]))
