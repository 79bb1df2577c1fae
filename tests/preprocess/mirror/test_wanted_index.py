import random
import string

import pytest

from preprocess.annotations import Clip
from preprocess.clip_names import read_clip_name
from preprocess.mirror.wanted_index import open_wanted_index, write_wanted_index


def clip(identifier, start=0, label="yoga", split="train"):
    return Clip(youtube_id=identifier, time_start=start, time_end=start + 10, split=split, label=label, line=start + 2)


@pytest.fixture
def index_of(tmp_path):
    def make(*clips, pending=None):
        path = tmp_path / "wanted.tsv"
        write_wanted_index(path, clips, pending={one.key for one in clips} if pending is None else pending)
        return open_wanted_index(path)

    return make


def find(index, name):
    return index.find(read_clip_name(name))


def test_every_clip_is_found_and_nothing_else(index_of):
    draw = random.Random(0)
    signs = string.ascii_letters + string.digits + "-_"
    clips = [clip("".join(draw.choices(signs, k=11)), i) for i in range(500)]
    index = index_of(*clips[::2])
    assert [find(index, one.key) for one in clips[::2]] == [(one, True) for one in clips[::2]]
    assert [find(index, one.key) for one in clips[1::2]] == [None] * 250
    assert [find(index, one.youtube_id) for one in clips[::2]] == [(one, True) for one in clips[::2]]


def test_clip_comes_back_as_it_was(index_of):
    one = clip("-abc_defGHI", 999_000, label='caf\u00e9 (in, game)\'s "x"', split="val")
    other = clip("_abc_defGHI", label=None)
    index = index_of(one, other)
    assert find(index, one.key)[0] == one
    assert find(index, other.key)[0] == other


def test_what_is_not_pending_is_told(index_of):
    one, other = clip("a" * 11), clip("b" * 11)
    index = index_of(one, other, pending={one.key})
    assert [find(index, some.key)[1] for some in (one, other)] == [True, False]


def test_id_alone_is_matched_only_when_one_clip_has_it(index_of):
    index = index_of(clip("a" * 11, 0), clip("a" * 11, 50), clip("b" * 11), pending=set())
    assert find(index, f"{'a' * 11}.mp4") is None
    assert find(index, f"{'b' * 11}.mp4")[0] == clip("b" * 11)


def test_other_seconds_of_the_same_video_are_not_the_clip(index_of):
    assert find(index_of(clip("a" * 11, 0)), f"{'a' * 11}_000001_000011.mp4") is None


def test_empty_list_wants_nothing(index_of):
    assert find(index_of(), "a" * 11) is None
