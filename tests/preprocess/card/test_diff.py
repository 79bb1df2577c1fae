import json
import shutil

import pytest

from preprocess.card.clips import CARD_CLIPS_NAME
from preprocess.card.content import CARD_NAME
from preprocess.card.diff import Side, compare
from preprocess.card.making import make_card
from preprocess.errors import InvalidInput
from preprocess.outcomes import MANIFEST_NAME, Outcome
from tests.preprocess.clip_folders import clip, done, failed, write_folder, write_manifest

WANTED = [clip(n, label="yoga" if n < 6 else "ski", split="train" if n < 8 else "val") for n in range(10)]


def differ(a, b, **options):
    return compare(Side.open(a), Side.open(b), **options)


def full(folder, **others):
    """All of `WANTED` usable, but with the given entries (None for none) in place of some."""
    entries = {f"n{n}": done(one) for n, one in enumerate(WANTED)} | others
    return write_folder(folder, WANTED, [entry for entry in entries.values() if entry is not None])


def send(folder, to, *names):
    """Only these files of a folder with a card."""
    make_card(folder).write(folder)
    to.mkdir()
    for name in names:
        shutil.copy(folder / name, to / name)
    return to


def test_equal_folders_are_the_same_on_every_level(tmp_path):
    difference = differ(full(tmp_path / "a"), full(tmp_path / "b"))
    assert set(difference.levels.values()) == {True}
    assert difference.is_same
    assert difference.splits == difference.classes == ()


def test_clips_of_one_side_are_named_with_what_the_other_says(tmp_path):
    a = full(tmp_path / "a", n1=failed(WANTED[1], Outcome.TEMPORARY, "timeout"))
    b = full(tmp_path / "b", n2=failed(WANTED[2], Outcome.UNAVAILABLE, "private"), n9=None)
    difference = differ(a, b, keys=1)
    clips = difference.clips
    assert not difference.is_same
    assert difference.levels == {"lists": True, "wanted": True, "usable": False, "labels": True, "files": True}
    assert (clips.in_both, clips.only_a.clips, clips.only_b.clips) == (7, 2, 1)
    assert (clips.only_a.first, clips.only_b.first) == ((WANTED[2].key,), (WANTED[1].key,))
    assert clips.b_lacks == {"not_tried": 1, "unavailable (private)": 1}
    assert clips.a_lacks == {"temporary (timeout)": 1}
    assert [(c.split, c.label, c.only_a, c.only_b) for c in difference.classes] == [
        ("train", "yoga", 1, 1),
        ("val", "ski", 1, 0),
    ]
    assert [(c.split, c.usable_a, c.usable_b) for c in difference.splits] == [("train", 7, 7), ("val", 2, 1)]


def test_a_clip_that_only_one_list_has_is_not_wanted_by_the_other(tmp_path):
    a = write_folder(tmp_path / "a", WANTED, map(done, WANTED), name="whole.csv")
    b = write_folder(tmp_path / "b", WANTED[:9], map(done, WANTED[:9]), name="cut.csv")
    difference = differ(a, b)
    assert (difference.levels["lists"], difference.levels["wanted"]) == (False, False)
    assert difference.clips.b_lacks == {"not wanted": 1}


def test_data_sets_without_a_clip_in_common(tmp_path):
    wanted = [clip(n, label="yoga" if n < 2 else "ski", split="train" if n < 3 else "val") for n in range(4)]
    a = write_folder(tmp_path / "a", wanted[:2], map(done, wanted[:2]))
    difference = differ(a, write_manifest(tmp_path / "b", map(done, wanted[2:])))
    assert difference.levels == {"lists": None, "wanted": False, "usable": False, "labels": None, "files": None}
    assert difference.clips.in_both == 0
    changes = [(c.split, c.label, c.usable_a, c.usable_b, c.only_a, c.only_b) for c in difference.classes]
    assert changes == [
        ("train", "yoga", 2, 0, 2, 0),
        ("train", "ski", 0, 1, 0, 1),
        ("val", "ski", 0, 1, 0, 1),
    ]
    assert [(c.split, c.usable_a, c.usable_b) for c in difference.splits] == [("train", 2, 1), ("val", 0, 1)]
    back = differ(tmp_path / "b", a)
    assert [(c.split, c.usable_a, c.usable_b) for c in back.splits] == [("train", 1, 2), ("val", 1, 0)]
    sent = send(a, tmp_path / "sent", CARD_NAME)
    alone = differ(sent, tmp_path / "b")
    assert [(c.split, c.usable_a, c.usable_b, c.only_a) for c in alone.splits] == [
        ("train", 2, 1, None),
        ("val", 0, 1, None),
    ]


def test_a_missing_clip_that_only_one_list_has_is_named(tmp_path):
    a = write_folder(tmp_path / "a", WANTED, map(done, WANTED[:9]))
    difference = differ(a, write_folder(tmp_path / "b", WANTED[:9], map(done, WANTED[:9])))
    assert (difference.levels["usable"], difference.levels["wanted"]) == (True, False)
    assert (difference.clips.wanted_only_by_a.first, difference.clips.wanted_only_by_b.clips) == ((WANTED[9].key,), 0)


def test_other_bytes_are_found_where_keys_are_equal(tmp_path):
    b = full(tmp_path / "b", n3=done(WANTED[3], sha256="0" * 64))
    difference = differ(full(tmp_path / "a"), b)
    assert [level for level, same in difference.levels.items() if same is False] == ["files"]
    assert (difference.clips.other_bytes.clips, difference.clips.other_bytes.first) == (1, (WANTED[3].key,))


def test_another_class_is_found_where_keys_are_equal(tmp_path):
    b = full(tmp_path / "b", n3=done(clip(3, label="ski")))
    difference = differ(full(tmp_path / "a"), b)
    assert [level for level, same in difference.levels.items() if same is False] == ["labels"]
    assert difference.clips.other_class.first == (WANTED[3].key,)
    assert [(c.label, c.other_class) for c in difference.classes] == [("ski", 1), ("yoga", 1)]
    assert [(c.split, c.other_class) for c in difference.splits] == [("train", 1)]


def test_files_that_were_never_hashed_are_not_called_the_same(tmp_path):
    b = full(tmp_path / "b", n3=done(WANTED[3], sha256=""))
    difference = differ(full(tmp_path / "a"), b)
    assert difference.levels["files"] is None
    assert difference.clips.unhashed == 1


def test_lists_of_a_folder_without_one_are_not_known(tmp_path):
    b = write_manifest(tmp_path / "b", map(done, WANTED))
    difference = differ(full(tmp_path / "a"), b)
    assert difference.levels["lists"] is None
    assert difference.is_same


def test_a_card_with_its_clips_does_for_the_folder(tmp_path):
    a, b = full(tmp_path / "a"), full(tmp_path / "b", n2=failed(WANTED[2], Outcome.UNAVAILABLE, "private"))
    sent = send(b, tmp_path / "sent", CARD_NAME, CARD_CLIPS_NAME)
    assert differ(a, sent / CARD_NAME).clips == differ(a, sent).clips == differ(a, b).clips


def test_cards_alone_say_in_which_class_other_clips_of_the_same_number_are(tmp_path):
    a_has = [done(one) for n, one in enumerate(WANTED) if n != 1]
    a = write_folder(tmp_path / "a", [*WANTED, clip(10, label="had by nobody")], a_has)
    b = full(tmp_path / "b", n2=failed(WANTED[2], Outcome.UNAVAILABLE, "private"))
    sent = send(b, tmp_path / "sent", CARD_NAME)
    difference = differ(a, sent)
    assert difference.clips is None
    assert difference.levels == {"lists": True, "wanted": False, "usable": False, "labels": None, "files": None}
    assert [(c.split, c.label, c.usable_a, c.usable_b, c.only_a) for c in difference.classes] == [
        ("train", "yoga", 5, 5, None)
    ]
    assert [c.split for c in difference.splits] == ["train"]


def test_a_folder_is_taken_as_it_is_now_not_as_its_card_says(tmp_path):
    a, b = full(tmp_path / "a"), full(tmp_path / "b", n9=None)
    make_card(b).write(b)
    assert differ(a, full(b)).is_same


def test_clips_of_another_card_fail(tmp_path):
    sent = send(full(tmp_path / "a"), tmp_path / "sent", CARD_NAME)
    send(full(tmp_path / "b", n9=None), tmp_path / "other", CARD_CLIPS_NAME)
    shutil.copy(tmp_path / "other" / CARD_CLIPS_NAME, sent)
    with pytest.raises(InvalidInput, match="belongs to another card"):
        Side.open(sent)


def test_a_folder_without_card_and_manifest_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"is no card\.json and no folder with one"):
        Side.open(tmp_path)


def test_a_run_that_was_stopped_before_its_first_clip(tmp_path):
    b = write_folder(tmp_path / "b", [clip(1)], [])
    (b / MANIFEST_NAME).unlink(missing_ok=True)
    assert differ(write_folder(tmp_path / "a", [clip(1)], [done(clip(1))]), b).clips.b_lacks == {"not_tried": 1}


def test_json_holds_every_class(tmp_path):
    wanted = [clip(n, label=f"class {n}") for n in range(50)]
    a = write_folder(tmp_path / "a", wanted, map(done, wanted))
    document = json.loads(differ(a, write_folder(tmp_path / "b", wanted, [])).to_json())
    assert len(document["classes"]) == 50
    assert document["same"] is False
