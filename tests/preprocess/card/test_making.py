import gzip
import hashlib
import random
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from preprocess.annotations import RefusedRow, read_lists, select
from preprocess.card.clips import CARD_CLIPS_NAME, read_clips
from preprocess.card.content import CARD_NAME, CARD_PAGE_NAME, Card, Share, Stretches, ordered_splits
from preprocess.card.making import make_card
from preprocess.errors import InvalidInput
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.wanted import wanted_of
from tests.preprocess.clip_folders import clip, done, failed, write_folder, write_manifest


def refusal(reason, *, line=1):
    return RefusedRow(line=line, reason=reason, row=("x",), list_name="k400.csv")


def mixed(folder):
    """12 rows: 3 refused, 2 not selected, 4 usable, 3 missing."""
    wanted = [clip(n, split="train" if n < 5 else "val") for n in range(7)]
    entries = [
        *(done(wanted[n]) for n in (0, 1, 2, 5)),
        failed(wanted[3], Outcome.UNAVAILABLE, "private", "Private video"),
        failed(wanted[6], Outcome.TEMPORARY, "rate_limit", "try again later"),
    ]
    refused = [
        refusal("time_end 1 is not after time_start 2", line=5),
        refusal("youtube_id 'abc' is not 11 characters of A-Z a-z 0-9 _ -", line=6),
        refusal("time_end 30 is not after time_start 31", line=7),
    ]
    return write_folder(folder, wanted, entries, refused=refused, rows=12)


def test_every_row_is_in_exactly_one_number(tmp_path):
    card = make_card(mixed(tmp_path)).card
    assert (card.rows.listed, card.rows.refused, card.rows.not_selected, card.rows.wanted) == (12, 3, 2, 7)
    assert card.usable == 4
    assert {(m.outcome, m.cause): m.clips for m in card.missing} == {
        ("unavailable", "private"): 1,
        ("temporary", "rate_limit"): 1,
        ("not_tried", ""): 1,
    }
    assert {split: (n.wanted, n.usable, n.missing) for split, n in card.splits.items()} == {
        "train": (5, 3, 2),
        "val": (2, 1, 1),
    }
    assert card.adds_up


def test_counts_add_up_whatever_happened(tmp_path):
    chance = random.Random(5)
    outcomes = [("unavailable", "private"), ("bad_media", "too_short"), ("temporary", "timeout"), ("quarantined", "")]
    for number in range(30):
        clips = [
            clip(n, label=chance.choice(["yoga", "ski", None]), split=chance.choice(["train", "val", "test"]))
            for n in range(chance.randrange(1, 30))
        ]
        tried = chance.sample(clips, chance.randrange(len(clips) + 1))
        entries = [
            done(one) if chance.random() < 0.5 else failed(one, Outcome(kind[0]), kind[1])
            for one in tried
            for kind in [chance.choice(outcomes)]
        ]
        wanted = chance.sample(clips, chance.randrange(len(clips) + 1))  # tried ones among the others: earlier runs
        refused = [refusal(f"line {n}") for n in range(chance.randrange(4))]
        rows = len(wanted) + len(refused) + chance.randrange(5)
        folder = write_folder(tmp_path / str(number), wanted, entries, refused=refused, rows=rows)
        card = make_card(folder).card
        assert card.adds_up, card
        assert card.usable == sum(entry.outcome is Outcome.DONE for entry in entries)
        in_classes = [n for one in card.classes for n in one.splits.values()]
        assert (sum(n.wanted for n in in_classes), sum(n.usable for n in in_classes)) == (len(wanted), card.usable)


def test_an_unchanged_folder_gives_equal_bytes_in_any_order_of_its_lines(tmp_path):
    entries = [done(clip(n), duration_s=10.1 + n / 7) for n in range(20)]
    wanted = [clip(n) for n in range(20)]
    cards = [
        make_card(write_folder(tmp_path / name, wanted, lines))
        for name, lines in (("a", entries), ("b", entries[::-1]))
    ]
    for name, card in zip("ab", cards, strict=True):
        card.write(tmp_path / name)
    for name in (CARD_NAME, CARD_PAGE_NAME, CARD_CLIPS_NAME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_hashes_are_of_sorted_lines(tmp_path):
    card = make_card(mixed(tmp_path)).card
    usable = [clip(n).key for n in (0, 1, 2, 5)]
    files = [f"{key} {hashlib.sha256(key.encode()).hexdigest()}" for key in usable]
    labels = [f"{key}\t{split}\tyoga" for key, split in zip(usable, ["train"] * 3 + ["val"], strict=True)]
    for digest, lines in (
        (card.identity.wanted, [clip(n).key for n in range(7)]),
        (card.identity.usable, usable),
        (card.identity.usable_by_split["val"], usable[3:]),
        (card.identity.labels, labels),
        (card.identity.files, files),
    ):
        assert digest == hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


@pytest.mark.parametrize(
    ("entry", "changed"),
    [
        (failed(clip(1), Outcome.TEMPORARY, "timeout"), {"usable", "usable_by_split", "labels", "files"}),
        (done(clip(1, label="ski")), {"labels"}),
        (done(clip(1, split="val")), {"labels", "usable_by_split"}),
        (done(clip(1), sha256="0" * 64), {"files"}),
        (done(clip(1), source="mirror", bytes=7), set()),
    ],
)
def test_each_hash_changes_with_what_it_is_of(tmp_path, entry, changed):
    wanted = [clip(0), clip(1)]
    before, after = (
        make_card(write_folder(tmp_path / name, wanted, [done(clip(0)), second])).card.identity
        for name, second in (("a", done(clip(1))), ("b", entry))
    )
    names = ("wanted", "usable", "usable_by_split", "labels", "files")
    assert {name for name in names if getattr(before, name) != getattr(after, name)} == changed


def test_files_that_were_never_hashed_have_no_hash(tmp_path):
    card = make_card(write_folder(tmp_path, [clip(0)], [done(clip(0), sha256="")])).card
    assert card.identity.files is None


def test_a_folder_without_a_list_says_so(tmp_path):
    entries = [done(clip(0)), failed(clip(1), Outcome.BAD_MEDIA, "damaged")]
    made = make_card(write_manifest(tmp_path, entries))
    made.write(tmp_path)
    assert not made.card.from_list
    assert (made.card.rows.wanted, made.card.usable) == (2, 1)
    assert made.card.adds_up
    assert "made from its manifest alone" in (tmp_path / CARD_PAGE_NAME).read_text()


def test_clips_of_earlier_runs_are_usable_and_named(tmp_path):
    # download a train list, then a val list, into one folder: list.csv holds the latter
    entries = [done(clip(0)), failed(clip(1), Outcome.UNAVAILABLE, "private"), done(clip(2, split="val"))]
    made = make_card(write_folder(tmp_path, [clip(2, split="val")], entries))
    made.write(tmp_path)
    assert (made.card.unlisted.usable, made.card.unlisted.missing, made.card.usable) == (1, 1, 2)
    assert made.card.splits["train"].usable == 1
    assert made.card.adds_up
    assert "holds 1 usable clips that its list does not ask for" in (tmp_path / CARD_PAGE_NAME).read_text()


def test_clips_in_another_class_than_the_list_says_are_counted(tmp_path):
    card = make_card(write_folder(tmp_path, [clip(0), clip(1)], [done(clip(0)), done(clip(1, label="ski"))])).card
    assert card.moved == 1


def test_refused_rows_are_counted_by_reason_not_by_value(tmp_path):
    card = make_card(mixed(tmp_path)).card
    assert [(r.rows, r.example_line) for r in card.refused] == [(2, 5), (1, 6)]


def test_content_is_summed_and_its_values_counted(tmp_path):
    entries = [done(clip(n), width=300 + n, fps=25.0, black_s=2.5 * (n < 2)) for n in range(7)]
    content = make_card(write_manifest(tmp_path, entries)).card.content
    assert (content.seconds, content.frames, content.bytes) == (70.0, 2100, 7000)
    assert [(share.value, share.clips) for share in content.frame_rates] == [("25", 7)]
    assert [share.clips for share in content.frame_sizes] == [1, 1, 1, 1, 1, 2]
    assert content.frame_sizes[-1].value == "other"
    assert (content.black.clips, content.black.seconds, content.frozen.clips) == (2, 5.0, 0)


def test_page_begins_with_the_hashes(tmp_path):
    made = make_card(mixed(tmp_path))
    made.write(tmp_path)
    page = (tmp_path / CARD_PAGE_NAME).read_text()
    assert page.startswith("# Data set card: kinetics400\n")
    assert made.card.identity.usable[:12] in "".join(page.splitlines()[:8])


def test_page_of_700_classes_is_one_table_sorted_by_name(tmp_path):
    clips = [clip(n, label=f"class {n}") for n in range(700)]
    make_card(write_folder(tmp_path, clips, [done(one) for one in clips])).write(tmp_path)
    page = (tmp_path / CARD_PAGE_NAME).read_text()
    classes = re.findall(r"^\| (class \d+) \| 1 of 1 \|$", page[page.index("## Classes") :], re.MULTILINE)
    assert classes == sorted(f"class {n}" for n in range(700))


HOSTILE = (
    "a|b\\|c <img src=x onerror=alert(1)> [x](http://evil.example) `c` \x1b[2J www.evil.example\n# *head* &lt; \ud800"
)


def test_page_shows_hostile_texts_as_text(tmp_path):
    one = clip(0, label="<b>|`bold`")
    entries = [done(clip(1, label=one.label)), failed(one, Outcome.UNAVAILABLE, "removed", HOSTILE)]
    folder = write_manifest(tmp_path, entries)
    make_card(folder).write(folder)
    page = (folder / CARD_PAGE_NAME).read_text()
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert "\x1b" not in page
    assert re.search(r"<(img|a|b|em|h1)\b(?!>Data set card)", html.split("</h1>")[1]) is None
    assert "a|b\\|c &lt;img src=x onerror=alert(1)&gt; [x](http://evil.example) `c` \\x1b[2J" in html
    assert "&amp;lt;" in html
    tables = [re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL) for table in html.split("</table>")]
    assert all(len({len(re.findall(r"<t[hd]", row)) for row in table}) <= 1 for table in tables)
    assert html.count("<table>") == 6  # the last one included: no text ended the page's structure


def test_card_is_read_as_it_was_written(tmp_path):
    made = make_card(mixed(tmp_path))
    made.write(tmp_path)
    assert Card.read(tmp_path / CARD_NAME) == made.card
    assert sorted(read_clips(tmp_path / CARD_CLIPS_NAME), key=lambda one: one.key) == list(made.clips)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:100], "is not JSON"),
        (lambda text: "[]", "is no data set card"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version 2, this reader knows 1"),
        (lambda text: text.replace('"moved": 0', '"moved": "no"'), r"moved should be int, it is 'no'"),
        (lambda text: text.replace('"moved": 0,', ""), "lacks moved"),
        (lambda text: text.replace('"lists": [', '"lists": [7, '), r"lists\[0\] should be an object, it is 7"),
    ],
)
def test_damaged_card_fails(tmp_path, edit, message):
    make_card(mixed(tmp_path)).write(tmp_path)
    path = tmp_path / CARD_NAME
    path.write_text(edit(path.read_text()))
    with pytest.raises(InvalidInput, match=message):
        Card.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"[" * 200_000), "is damaged"),
        (b"\x1f\x8b\x08\x00", "card writes it anew|ended"),
    ],
)
def test_damaged_clips_of_a_card_fail(tmp_path, content, message):
    path = tmp_path / CARD_CLIPS_NAME
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        list(read_clips(path))


def test_folder_without_manifest_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"has no manifest\.jsonl.*`preprocess download` writes one"):
        make_card(tmp_path)


def test_card_of_a_run_that_ended_before_its_first_clip(tmp_path):
    folder = write_folder(tmp_path, [clip(0)], [])
    (folder / MANIFEST_NAME).unlink()
    card = make_card(folder).card
    assert (card.usable, [kind.outcome for kind in card.missing]) == (0, ["not_tried"])


def test_manifest_without_clips_fails(tmp_path):
    with pytest.raises(InvalidInput, match="names no clip"):
        make_card(write_manifest(tmp_path, []))


@pytest.mark.parametrize(
    "fields",
    [
        {"duration_s": float("nan")},
        {"bytes": -1},
        {"bytes": 10**400},
        {"fps": "25"},
        {"sha256": None},
        {"label": "yo\nga"},
        {"source": "a\nb"},
        {"reason": 7},
    ],
)
def test_manifest_with_impossible_values_fails(tmp_path, fields):
    with pytest.raises(InvalidInput, match="entry of '00000000000_000000_000010' holds"):
        make_card(write_manifest(tmp_path, [replace(done(clip(0)), **fields)]))


def test_content_of_entries_that_say_no_source_and_lengths_that_no_float_has(tmp_path):
    entries = [done(clip(n), source="", duration_s=0.1, frozen_s=0.7) for n in range(3)]
    content = make_card(write_manifest(tmp_path, entries)).card.content
    assert content.sources == (Share(value="not known", clips=3),)
    assert (content.seconds, content.frozen) == (0.3, Stretches(clips=3, seconds=2.1))


def test_list_with_fewer_rows_than_clips_fails(tmp_path):
    with pytest.raises(InvalidInput, match="counts 1 rows, fewer than its 0 refused ones and the 2 clips"):
        make_card(write_folder(tmp_path, [clip(0), clip(1)], [done(clip(0))], rows=1))


def test_splits_are_in_the_order_of_use():
    assert ordered_splits({"test", "extra", "val", "train"}) == ["train", "val", "test", "extra"]


def test_real_list_adds_up(tmp_path, shared_data):
    listed = read_lists([shared_data / "lists" / "deepmind_k400_validate.csv"])
    chosen = select(listed.clips, limit=5000)
    wanted_of(listed, chosen).write(write_manifest(tmp_path, map(done, chosen[::2])))
    card = make_card(tmp_path).card
    assert card.adds_up
    assert card.dataset == "kinetics400"
    assert card.rows.listed == len(listed.clips) + len(listed.refused)
    assert (card.rows.wanted, card.usable, card.missing[0].outcome) == (5000, 2500, "not_tried")
