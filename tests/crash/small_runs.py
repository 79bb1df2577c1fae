"""The commands that are killed, as small as they can be, and what each gives when it is left alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.folders import contents, published
from tests.crash.warm import Warm
from tests.i3d_train.small_shards import noisy_clips, write_set
from tests.preprocess.archive_server import pack
from tests.preprocess.conftest import textured_frames, write_video

CLIPS = 4
OUT = "out"
"""Every command writes to this folder below that where it runs, since some write its name down."""
_TRAIN = (
    *("--model", "tiny", "--frames", 9, "--crop", 32, "--device", "cpu", "--loader", "torch", "--threads", 1),
    *("--batch-size", 4, "--lr", 0.1, "--steps", 8, "--checkpoint-every", 2, "--validate-every", 3, "--keep", 2),
    *("--seed", 3, "--resume"),
)


@dataclass(kw_only=True)
class SmallRun:
    """One command."""

    module: str
    arguments: tuple[object, ...]
    expected: dict[str, Any] = field(default_factory=dict)
    """Content of the folder after a whole run."""
    published: dict[str, bytes] = field(default_factory=dict)
    calls: Path = Path()
    """Folder where the whole run's calls were counted."""

    def start(self, warm: Warm, folder: Path, *, at: str = "") -> int:
        """Begin it in `folder`, to be killed at a point; returns its process id."""
        return warm.start(self.module, *self.arguments, folder=folder, at=at)


def make_inputs(folder: Path) -> None:
    """Videos, a list of them, the same clips in an archive, and shards to train on."""
    rows = ["label,youtube_id,time_start,time_end,split"]
    videos = {}
    for i in range(CLIPS):
        name = f"{i:011d}"
        (folder / "videos").mkdir(exist_ok=True)
        path = write_video(folder / "videos" / f"{name}.mp4", textured_frames(26, height=48, width=64, seed=i))
        rows.append(f"{'yoga' if i % 2 else 'running'},{name},0,1,{'train' if i < 3 else 'val'}")
        videos[f"{name}_000000_000001.mp4"] = path.read_bytes()
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    pack(folder / "mirror" / "all.tar", videos)
    write_set(folder / "train", {"train": noisy_clips("train", [0, 1] * 4), "val": noisy_clips("val", [0, 1, 0])})


def make_runs(folder: Path, warm: Warm) -> dict[str, SmallRun]:
    """The commands, each run once to its end."""
    make_inputs(folder)
    whole = folder / "whole"
    download = ("download", folder / "list.csv", "--out", OUT, "--workers", 0)
    options = ("--short-side", 48, "--clips-per-shard", 2, "--cpus", 0)
    runs = {
        "download": SmallRun(module="preprocess", arguments=(*download, "--source-dir", folder / "videos")),
        "mirror": SmallRun(module="preprocess", arguments=(*download, "--mirror", folder / "mirror")),
        "flow": SmallRun(module="preprocess", arguments=("flow", whole / "download" / OUT, "--out", OUT, *options)),
        "train": SmallRun(
            module="tests.i3d_train.tiny_command",
            arguments=("run", "--shards", folder / "train", "--out", OUT, *_TRAIN),
        ),
    }
    for name, run in runs.items():
        run.start(warm, whole / name)
        status = warm.wait()
        assert status == 0, (whole / name / "log").read_text()
        run.expected, run.published = contents(whole / name / OUT), published(whole / name / OUT)
        run.calls = whole / name / "calls"
    return runs
