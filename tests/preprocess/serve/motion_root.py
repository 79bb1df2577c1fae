"""A ROOT to begin with: the synthetic motion set, and a list that names more than is there."""

from pathlib import Path

from preprocess.sample import MOTIONS, SampleConfig, make_sample
from tests.preprocess.conftest import VideoServer

SAMPLE = SampleConfig(
    videos_per_class=1,
    val_per_class=1,
    width=192,
    height=144,
    duration_s=2,
    clip_start_s=0,
    clip_end_s=2,
    speed_px=(3.0, 4.5),
)
DONE = 2 * len(MOTIONS)
FRAMES = SAMPLE.frames
FAILED = {
    ("unavailable", "not_found"): 3,
    ("unavailable", "region"): 2,
    ("bad_media", "not_video"): 1,
    ("bad_media", "damaged"): 1,
    ("bad_media", "too_short"): 1,
}
"""Outcome and cause to clips of the list that end so."""
REFUSED = 1
"""Rows of the list that are no clip."""

_GONE = ("a3Jd8kQx0fM", "Lq7_vT2mZsE", "w9HcY4nB-1k")
_BLOCKED = ("tZ5uPoR6gXI", "0yFe3WjK8aU")
_PAGE, _TORN, _SHORT, _BACKWARDS = "Vb1rNsD4hCo", "pM2xGi7LqTe", "eS8kUz0JwHy", "R6fAnXc5vQo"


def make_motion_root(root: Path, *, site: Path) -> VideoServer:
    """`root/motions.csv`, and the site whose videos it names, not all of which are there or what they should be."""
    make_sample(site, config=SAMPLE)
    videos = site / "videos"
    good = next(videos.glob("*.mp4")).read_bytes()
    (videos / f"{_PAGE}.mp4").write_text("<html><title>Before you continue</title></html>")
    (videos / f"{_TORN}.mp4").write_bytes(good[: len(good) // 2])
    (videos / f"{_SHORT}.mp4").write_bytes(good)
    rows = [(_SHORT, 1, 3), *((name, 0, 2) for name in (*_GONE, *_BLOCKED, _PAGE, _TORN)), (_BACKWARDS, 9, 4)]
    listed = (site / "list.csv").read_text()
    for (name, start, end), label in zip(rows, [*MOTIONS, *MOTIONS], strict=False):
        listed += f'"{label}",{name},{start},{end},train,0\n'
    (root / "motions.csv").write_text(listed)
    return VideoServer(videos, faults={f"{name}.mp4": 451 for name in _BLOCKED})
