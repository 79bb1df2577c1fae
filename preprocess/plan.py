"""Which clip goes into which shard: a pure function of the clips and the configuration.

So a shard is one retryable unit of work, and the same input gives the same shards whoever computes them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.clips import ClipFile
from preprocess.collector import collector_paused
from preprocess.config import FlowConfig
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.extract import MAX_SECONDS
from preprocess.labels import canonical, nearest
from preprocess.media import resized_size
from preprocess.paths import publish
from preprocess.shards.index import is_shard_name
from preprocess.shards.layout import ATTRIBUTE_BYTES, SPLITS, shard_name

PLAN_NAME = "plan.json"

# JPEG bytes a pixel by quality: frames as measured on five Kinetics clips, flow from a study of four (u over v, gray).
_QUALITY = (50, 75, 85, 90, 95, 98, 100)
_RGB_BYTES_PX = (0.11, 0.15, 0.20, 0.24, 0.34, 0.47, 0.66)
_FLOW_BYTES_PX = (0.01, 0.017, 0.023, 0.028, 0.041, 0.054, 0.069)
_MARGIN = 1.3  # the busiest of the five clips took 1.28 times their mean
_CLIP_FIELDS = tuple(field.name for field in fields(ClipFile))
_clip_values = attrgetter(*_CLIP_FIELDS)
_CLIPS_AT_ONCE = 1000  # as JSON: that of ten million would be several GB


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """One unit of work."""

    name: str
    """File name of the shard."""
    clips: tuple[ClipFile, ...]
    """In the order of its rows."""
    labels: tuple[int, ...]
    """Index of each clip's label among the plan's; -1 where it has none."""
    planned_bytes: int
    """Estimate, on the high side."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All shards of a run."""

    shards: tuple[PlannedShard, ...]
    labels: tuple[str, ...]
    """Label names; a clip's label is an index into them."""
    fingerprint: str
    """sha256 over clips, labels, configuration and backend."""
    settings: dict[str, Any]
    """The configuration as JSON values, for `plan.json`, `index.json` and the message when two plans differ."""

    def write(self, folder: Path) -> None:
        """Publish `plan.json`."""
        document = {
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "shards": [s.name for s in self.shards],
        }
        publish(folder / PLAN_NAME, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())


@collector_paused()
def make_plan(
    clips: Sequence[ClipFile], *, config: FlowConfig, backend: str, labels: Sequence[str] | None = None
) -> Plan:
    """Assign clips, in order of their keys, to shards of at most `clips_per_shard` clips and `bytes_per_shard` bytes.

    Args:
        clips: sorted by key.
        config: sizes, qualities and limits.
        backend: the flow backend that will run, as resolved: another one gives other bytes.
        labels: label names in the wanted order, which clips may spell as loosely as lists do, see `preprocess.labels`;
            by default all labels of the clips, sorted.

    Raises:
        InvalidInput: a clip has a label that is not among `labels`, or these are more than a shard holds.
    """
    present = {clip.label for clip in clips if clip.label is not None}
    names = tuple(sorted(present) if labels is None else labels)
    if (size := len(json.dumps(names))) > ATTRIBUTE_BYTES:
        raise InvalidInput(
            f"{len(names)} label names take {size} bytes, {ATTRIBUTE_BYTES} is what a shard holds of them; a folder of "
            "clips is SPLIT/CLASS/VIDEO"
        )
    number = {name: i for i, name in enumerate(names)}
    # folders of classes drift from a label table as lists do
    index = {label: number[name] for label in present if (name := canonical(label, names)) is not None}
    if strange := sorted(present - index.keys()):
        raise InvalidInput(
            f"{len(strange)} labels of the clips are not in the given list, such as {strange[0]!r} "
            f"(the nearest: {', '.join(nearest(strange[0], names)) or 'none'})"
        )
    shards: list[PlannedShard] = []
    for split in SPLITS:
        groups = _split_up((clip for clip in clips if clip.split == split), config)
        shards += [
            PlannedShard(
                name=shard_name(split, number, len(groups)),
                clips=tuple(group),
                labels=tuple(-1 if clip.label is None else index[clip.label] for clip in group),
                planned_bytes=size,
            )
            for number, (group, size) in enumerate(groups)
        ]
    settings = {**asdict(config), "fps": str(config.fps), "backend": backend}
    fingerprint = _fingerprint(settings, names, clips)
    return Plan(shards=tuple(shards), labels=names, fingerprint=fingerprint, settings=settings)


def planned_bytes(clip: ClipFile, config: FlowConfig) -> int:
    """Bytes that a clip is planned to take in a shard: an estimate, on the high side."""
    if not (clip.height and clip.width):
        return 0
    height, width = resized_size(clip.height, clip.width, config.short_side)
    # what is longer is refused when it is decoded; a header that declares a day must not make the disk seem too small
    duration_s = min(clip.duration_s, MAX_SECONDS)
    bytes_px = _bytes_px(config.rgb_quality, config.flow_quality)
    return round(duration_s * config.fps * height * width * bytes_px * _MARGIN)


def read_plan(folder: Path, *, place: str = "") -> dict[str, Any] | None:
    """What `plan.json` of an earlier run says; None when there is none.

    Args:
        folder: that it is in.
        place: name of the folder for messages; by default its path.

    Raises:
        InvalidInput: the file is damaged.
        EnvironmentProblem: this user or this disk cannot read it.
    """
    path = folder / PLAN_NAME
    try:
        if not path.is_file():
            return None
        document = json.loads(path.read_text(encoding="utf-8"))
        plan = {name: document[name] for name in ("fingerprint", "settings", "shards")}
        # what the plan names is deleted when another one takes its place
        if not (isinstance(plan["settings"], dict) and all(is_shard_name(name) for name in plan["shards"])):
            raise ValueError("its settings or shards are none")
        return plan
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read: {error.strerror}; see to its mode and its disk") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"{place or folder}/{PLAN_NAME} is damaged ({error!r}); delete it, or choose another folder"
        ) from error


def check_earlier(old: dict[str, Any] | None, plan: Plan, *, place: str, replan: bool) -> None:
    """That what is in `place` was planned as `plan`, or may be dropped.

    Args:
        old: see `read_plan`.
        plan: the new one.
        place: for the message.
        replan: it may be dropped.

    Raises:
        InvalidInput: neither.
    """
    if old is not None and old["fingerprint"] != plan.fingerprint and not replan:
        raise InvalidInput(
            f"{place} was planned with something else ({difference(old, plan)}); "
            "choose another folder, or --replan to drop its shards and start over"
        )


def difference(old: dict[str, Any], plan: Plan) -> str:
    """In words, what a new plan has that the old one had not."""
    changed = [
        f"{name} was {old['settings'].get(name)!r}, is {value!r}"
        for name, value in plan.settings.items()
        if old["settings"].get(name) != value
    ]
    return "; ".join(changed) or "the clips or the labels are others"


@lru_cache
def _bytes_px(rgb_quality: int, flow_quality: int) -> float:
    """Bytes that a frame and its flow take for each pixel of the frame."""
    rgb = np.interp(rgb_quality, _QUALITY, _RGB_BYTES_PX)
    return float(rgb + 2 * np.interp(flow_quality, _QUALITY, _FLOW_BYTES_PX))


def _split_up(clips: Iterable[ClipFile], config: FlowConfig) -> list[tuple[list[ClipFile], int]]:
    """Clips of each shard, and the bytes they are planned to take."""
    groups: list[tuple[list[ClipFile], int]] = []
    group: list[ClipFile] = []
    taken = 0
    for clip in clips:
        size = planned_bytes(clip, config)
        if group and (len(group) == config.clips_per_shard or taken + size > config.bytes_per_shard):
            groups.append((group, taken))
            group, taken = [], 0
        group.append(clip)
        taken += size
    return [*groups, (group, taken)] if group else groups


def _fingerprint(settings: Mapping[str, Any], names: Sequence[str], clips: Sequence[ClipFile]) -> str:
    """sha256 over the JSON of `[settings, names, clips]`, its keys sorted."""
    digest = hashlib.sha256(json.dumps([settings, names], sort_keys=True)[:-1].encode())
    left = iter(clips)
    before = ", ["
    while some := [dict(zip(_CLIP_FIELDS, _clip_values(clip), strict=True)) for clip in islice(left, _CLIPS_AT_ONCE)]:
        digest.update(f"{before}{json.dumps(some, sort_keys=True)[1:-1]}".encode())
        before = ", "
    digest.update(b"]]" if clips else b", []]")
    return digest.hexdigest()
