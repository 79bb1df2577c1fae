"""Accuracy of weights on a split of shards: the paper's test, or several views of each clip.

Shapes: B = views of a batch, K = classes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from i3d_train import weights
from i3d_train.clip_logits import ClipLogits, ViewAverage
from i3d_train.data import (
    STREAMS_READ,
    UNLABELLED,
    check_scoring,
    note_small_crop,
    open_clips,
    readable,
    warn_of_other_videos,
)
from i3d_train.device import choose_precision
from i3d_train.evaluation_folder import write_evaluation
from i3d_train.events import Observer, Scored, ignore
from i3d_train.labels import class_names
from i3d_train.models import network_class
from i3d_train.options import Machine, Reading, check_at_least, check_choice, check_not_read, fold_of
from i3d_train.results import RESULTS_NAME, Results, Trial
from i3d_train.scoring import answers, ranked
from i3d_train.weight_info import WeightsInfo
from pipelines import Loader, open_loader
from pipelines.device import resolve_device
from pipelines.portion import OpenClips
from preprocess.address import folder_name, shown
from preprocess.errors import InvalidInput
from preprocess.labels import dataset_of
from preprocess.paths import check_writable, publish
from preprocess.shards import ShardSet
from preprocess.shards.layout import SPLITS

FOLDS = (1, 2, 3)
"""Official splits of UCF-101 and of HMDB-51."""

_TOP = 5
_BATCH_SIZE = {1: 4, 3: 6}
"""Crops of a window to the views of a forward pass where none are asked for."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Machine, Reading):
    """Which weights to score on what."""

    shards: Path | str
    """Folder or address of `index.json`."""
    weights: Path
    """What `i3d_train.weights.load` takes: a checkpoint of a run, safetensors, or a released network."""
    split: str = "val"
    """One of `SPLITS`."""
    stream: str | None = None
    """What the weights are expected to be for; None takes their word."""
    frames: int | None = None
    """Consecutive frames of a window, looped where the clip is shorter; None is the network's own test window, 250 for
    I3D: the ten seconds of a whole Kinetics clip."""
    whole: bool = False
    """All frames of each clip, however long, instead of windows; one clip a forward pass."""
    windows: int = 1
    """Windows of a clip: 1 is its middle, more are spread evenly from its first frame to its last."""
    crops: int = 1
    """Crops of a window: 1 is the centre, 3 lie along the longer side."""
    crop: int | None = None
    """Pixels of the square crop; None is the network's own, 224 for I3D."""
    batch_size: int | None = None
    """Views a forward pass, a multiple of `crops`; None is 4, or 6 for 3 crops."""
    labels: Path | None = None
    """Class names of the weights, one a line, where they carry none."""
    predictions: Path | None = None
    """Write each clip's answer to this file, one JSON line a clip."""
    out: Path | None = None
    """Write results, logits and confusion matrix into this folder, see `i3d_train.evaluation_folder`."""
    dataset: str | None = None
    """What the results call the data set; None is the one whose label table the shards follow, or their folder."""
    fold: int | None = None
    """Official split of UCF-101 or HMDB-51 that the clips are of, for the results; None is that of a list called
    `fold1.csv`, `fold2.csv` or `fold3.csv`, otherwise none."""
    most_wrong: int = 20
    """How many clips the results name, of those with the highest loss."""

    def __post_init__(self) -> None:
        Machine.__post_init__(self)
        Reading.__post_init__(self)
        check_choice("split", self.split, SPLITS)
        for name in ("frames", "windows", "crop", "batch_size"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("most_wrong", self.most_wrong, 0)
        if self.crops not in _BATCH_SIZE:
            raise InvalidInput(f"crops must be 1 or 3, got {self.crops}")
        if self.fold is not None and self.fold not in FOLDS:
            raise InvalidInput(f"fold must be one of {', '.join(map(str, FOLDS))}, got {self.fold}")
        if self.batch_size is not None and self.batch_size % self.crops:
            raise InvalidInput(f"batch_size must be a multiple of crops {self.crops}, got {self.batch_size}")
        if self.whole and (self.frames is not None or self.windows > 1 or self.batch_size is not None):
            raise InvalidInput(
                "whole clips differ in length, so that frames, windows and batch_size are not free; leave them out"
            )


def evaluate(config: EvaluateConfig, *, observe: Observer = ignore) -> Results:
    """Score weights on a split.

    Labels are matched by name, so that shards of some of the classes, in any order, can be scored. With one window and
    one crop this is the paper's test: a network looks at the window as a whole, convolutional in time, and averages as
    it does. With several, the probabilities of all views of a clip are averaged, as SlowFast does (10 windows of 3
    crops is the field's custom).

    Args:
        config: see `EvaluateConfig`.
        observe: called with `Scored` after each batch.

    Raises:
        InvalidInput: the weights do not fit, a class of the shards is unknown to them, they were trained on
            another fold, a logit is not finite, or `predictions` is a folder or a file that is read.
        BadShard: the shards break their contract.
        EnvironmentProblem: no such device, its memory is too small, or the disk is full.
    """
    if config.predictions is not None:
        check_not_read(config.predictions, config.weights, config.labels, config.clips)
    info = weights.describe(config.weights)
    if config.stream not in (None, info.stream):
        raise InvalidInput(f"{config.weights} holds weights for {info.stream}, not {config.stream}; leave --stream out")
    network = network_class(info.model)
    frames = None if config.whole else config.frames or network.sampling.test_window
    crop = config.crop or network.sampling.crop
    device = resolve_device(config.device)
    precision = choose_precision(config.precision, device)
    clips = open_clips(config.shards, split=config.split, reading=config)
    _check_clips(readable(clips), info, frames=frames, crop=crop)
    loader = _open(config, clips, stream=info.stream, frames=frames, crop=crop, device=device)
    warn_of_other_videos(info, loader.shards.attributes)
    note_small_crop(crop)
    names = class_names(info.num_classes, known=info.labels, file=config.labels)
    used = set(loader.shards.clips.label.tolist())
    logit_of_label = _match(loader.labels, names, used)
    fold = config.fold or fold_of(config.clips)
    _check_fold(fold, info)
    model = weights.restore(config.weights).to(device)
    for path in (config.out and config.out / RESULTS_NAME, config.predictions):
        if path is not None:
            check_writable(path)

    average = ViewAverage(loader.config.views)
    for answer in answers(model, loader, device=device, precision=precision):
        average.add(answer.keys, logit_of_label[answer.labels.cpu()].tolist(), answer.logits)
        observe(Scored(done=len(average), total=len(loader.shards)))
    found = average.result(names, partial=config.on_bad_shard == "skip")
    tested = Trial(
        model=info.model,
        stream=info.stream,
        transfer=info.transfer,
        weights=(info.name,),
        dataset=shown(config.dataset or dataset_of(loader.labels) or folder_name(config.shards)),
        split=config.split,
        folds=() if fold is None else (fold,),
        frames=frames,
        crop=crop,
        windows=config.windows,
        crops=config.crops,
    )
    results = Results.of(
        tested, found, most_wrong=config.most_wrong, missing=len(loader.missing) + len(loader.shards) - len(found)
    )
    if config.out is not None:
        write_evaluation(config.out, [results], found)
    if config.predictions is not None:
        publish(config.predictions, _prediction_lines(found))
    return results


def _open(
    config: EvaluateConfig, clips: OpenClips, *, stream: str, frames: int | None, crop: int, device: torch.device
) -> Loader:
    return open_loader(
        clips,
        streams=STREAMS_READ[stream],
        frames=frames,
        windows=config.windows,
        crops=config.crops,
        crop=crop,
        batch_size=config.crops if frames is None else config.batch_size or _BATCH_SIZE[config.crops],
        device=device,
        training=False,
        **config.loader_options,
    )


def _check_clips(clips: ShardSet, info: WeightsInfo, *, frames: int | None, crop: int) -> None:
    least = network_class(info.model).min_frames
    check_scoring(clips, frames=least if frames is None else frames, crop=crop, model=info.model)
    length = clips.clips.rgb_count if info.stream == "rgb" else clips.clips.flow_count
    shortest = int(np.argmin(length))
    if frames is None and length[shortest] < least:
        raise InvalidInput(
            f"clip {clips.key(shortest)} has {length[shortest]} frames, {info.model} needs {least}; "
            f"evaluate windows, which are looped, instead of whole clips"
        )


def _check_fold(fold: int | None, info: WeightsInfo) -> None:
    if None not in (fold, info.fold) and fold != info.fold:
        raise InvalidInput(
            f"{info.path} was trained on fold {info.fold}, where test clips of fold {fold} are for training; "
            f"give the weights of fold {fold}"
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


def _prediction_lines(found: ClipLogits) -> list[bytes]:
    lines = []
    names = found.classes
    for key, label, logits in zip(found.keys, found.labels.tolist(), found.logits, strict=True):
        logits_K = torch.from_numpy(logits)
        probability_K = logits_K.softmax(0)
        best = ranked(logits_K)[:_TOP].tolist()
        record = {
            "key": key,
            "label": None if label == UNLABELLED else names[label],
            "top": [[names[k], round(float(probability_K[k]), 6), round(float(logits_K[k]), 4)] for k in best],
            # all of them, in the order of the classes
            "logits": [round(value, 4) for value in logits_K.tolist()],
        }
        lines.append((json.dumps(record, ensure_ascii=False) + "\n").encode())
    return lines
