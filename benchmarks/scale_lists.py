"""Lists and a manifest of as many clips as wanted, made up, for `benchmarks/scale.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from preprocess.annotations import Clip
from preprocess.jsonl import line_of
from preprocess.labels import label_table
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome
from preprocess.paths import label_folder

DATASET = "kinetics700"
FEW = 2_000
"""Clips that the manifest does not have."""

_SPLITS = {"train": 0.83, "validate": 0.055, "test": 0.115}
"""Share of the clips, as in Kinetics-700."""
_ALPHABET = np.frombuffer(b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz", np.uint8)
_AT_ONCE = 100_000  # clips that are Python objects


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a step starts from."""

    folder: Path
    """Of the lists and the manifest."""
    clips: int
    few: int = FEW
    """Clips that are still to be done."""

    @property
    def lists(self) -> list[Path]:
        """Those of train, val and test."""
        return [self.folder / f"{split}.csv" for split in _SPLITS]

    def make(self) -> None:
        """Write the lists, in any order and with labels in another spelling, and the manifest: all but `few` are done.

        The manifest is in the order of keys, as a run writes it.
        """
        random = np.random.default_rng(0)
        ids = np.sort(_ALPHABET[random.integers(len(_ALPHABET), size=(self.clips, 11))].view("S11").ravel())
        labels = random.integers(len(label_table(DATASET)), size=self.clips)
        starts = random.integers(600, size=self.clips)
        splits = np.searchsorted(np.cumsum(list(_SPLITS.values()))[:-1], random.random(self.clips))
        with (self.folder / MANIFEST_NAME).open("wb") as file:
            for few in _stretches(np.arange(self.clips - self.few)):
                clips = map(_clip, ids[few].tolist(), labels[few].tolist(), starts[few].tolist(), splits[few].tolist())
                file.writelines(_lines(clips, random))
        for number, path in enumerate(self.lists):
            with path.open("w") as text:
                text.write("label,youtube_id,time_start,time_end,split\n")
                for few in _stretches(random.permutation(np.flatnonzero(splits == number))):
                    names = [label_table(DATASET)[label].lower() for label in labels[few].tolist()]
                    rows = zip(names, ids[few].tolist(), starts[few].tolist(), strict=True)
                    text.writelines(
                        f"{name},{i.decode()},{start},{start + 10},{path.stem}\n" for name, i, start in rows
                    )


def a_good_clip(sha256: str, *, path: str = "") -> dict[str, object]:
    """What a manifest says of a clip that is done, beside what the list says."""
    size = {"frame_count": 300, "fps": 29.97003, "width": 340, "height": 256}
    return {"path": path, "sha256": f"{sha256:0>64}", "bytes": 700_000, "duration_s": 10.01, **size}


def _clip(youtube_id: bytes, label: int, start: int, split: int) -> Clip:
    return Clip(
        youtube_id=youtube_id.decode(),
        time_start=start,
        time_end=start + 10,
        split=("train", "val", "test")[split],
        label=label_table(DATASET)[label],
        line=0,
    )


def _lines(clips: Iterator[Clip], random: np.random.Generator) -> Iterator[bytes]:
    folders = {label: label_folder(label) for label in label_table(DATASET)}
    whole: Mapping[str, object] = {}
    for clip in clips:
        good = a_good_clip(random.bytes(32).hex(), path=f"{clip.split}/{folders[clip.label]}/{clip.key}.mp4")
        whole = whole or asdict(ManifestEntry.of_clip(clip, Outcome.DONE, source="url"))
        names = ("key", "youtube_id", "time_start", "time_end", "split", "label")
        yield line_of({**whole, **{name: getattr(clip, name) for name in names}, **good})


def _stretches(numbers: np.ndarray) -> Iterator[np.ndarray]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))
