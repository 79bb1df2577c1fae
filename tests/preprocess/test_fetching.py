"""Tests of preprocess.fetching: what is done with what a source gives."""

import pytest

from preprocess import sources
from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.fetching import fetch_clip
from preprocess.schedule import Attempt
from preprocess.sources.fetched import Extent, Fetched
from tests.preprocess.conftest import numbered_frames, write_video


@pytest.mark.parametrize(
    ("bad", "asked", "outcome"),
    [(Extent.SECTION, [True, False], "done"), (Extent.WHOLE, [True], "bad_media")],
)
def test_section_that_is_no_good_is_fetched_whole_and_nothing_is_twice(tmp_path, monkeypatch, bad, asked, outcome):
    config = DownloadConfig(out=tmp_path / "clips", url_template="http://127.0.0.1/{youtube_id}")
    calls = []

    def fetch(_clip, folder, *, source, config, sections=True):
        calls.append(sections)
        assert (source, list(folder.iterdir())) == ("url", [])
        path = folder / f"{sections}.mp4"
        if sections:
            path.write_bytes(b"no video")
            return Fetched(path=path, extent=bad)
        return Fetched(path=write_video(path, numbered_frames(75)), extent=Extent.WHOLE)

    monkeypatch.setattr(sources, "fetch", fetch)
    clip = Clip(youtube_id="a" * 11, time_start=0, time_end=2, split="val", label="yoga", line=2)
    (identity,) = config.askers("url")
    answer = fetch_clip(Attempt(clip=clip, identity=identity, number=1), source="url", config=config)
    assert (calls, answer.entry.outcome) == (asked, outcome)
    assert {"fetch", "trim"} <= set(answer.work.seconds)
