import json

import pytest
from click.testing import CliRunner

from preprocess.card.content import CARD_NAME, CARD_PAGE_NAME
from preprocess.commands.card import card
from preprocess.console import CommandGroup
from preprocess.outcomes import Outcome
from tests.preprocess.clip_folders import clip, done, failed, write_folder

WANTED = [clip(0), clip(1), clip(2, split="val")]


def run(*arguments):
    return CliRunner().invoke(CommandGroup(commands=[card]), ["card", *map(str, arguments)])


@pytest.fixture
def theirs(tmp_path):
    return write_folder(tmp_path / "theirs", WANTED, map(done, WANTED))


@pytest.fixture
def ours(tmp_path):
    reason = "Private \x1b[2J video"
    entries = [done(WANTED[0]), failed(WANTED[1], Outcome.UNAVAILABLE, "private", reason), done(WANTED[2])]
    return write_folder(tmp_path / "ours", WANTED, entries)


def test_summary_begins_with_the_hash_that_the_page_begins_with(ours):
    result = run(ours)
    assert result.exit_code == 0
    digest = result.output.split()[1]
    assert json.loads((ours / CARD_NAME).read_text())["identity"]["usable"].startswith(digest)
    assert f"`{digest}`" in (ours / CARD_PAGE_NAME).read_text().split("##")[0]


def test_summary_says_what_is_missing_in_safe_text(ours):
    result = run(ours)
    assert "train: 1 usable of 2 wanted\nval: 1 usable of 1 wanted\n" in result.output
    assert (
        r"missing: 1 unavailable (private), such as 00000000001_000000_000010: Private \x1b[2J video" in result.output
    )
    assert f"wrote card.md, card.json and card.clips.gz in {ours}\n" in result.output


def test_json_is_the_card_and_nothing_is_written(ours):
    printed = run(ours, "--json").output
    assert not (ours / CARD_NAME).exists()
    run(ours)
    assert printed == (ours / CARD_NAME).read_text()


def test_diff_of_equal_folders_exits_0(ours):
    result = run("diff", ours, ours)
    assert result.exit_code == 0
    assert result.output.count("same  ") == 5


def test_diff_names_the_clips_and_exits_1(ours, theirs):
    result = run("diff", ours, theirs)
    assert result.exit_code == 1
    assert "different  usable clips                             A has 2, B has 3\n" in result.output
    assert "only in B: 1\n    in A: 1 unavailable (private)\n    00000000001_000000_000010\n" in result.output
    assert "by class, largest difference first:\n    train, yoga: A 1, B 2; 1 only in B\n" in result.output


def test_diff_as_json(ours, theirs):
    document = json.loads(run("diff", ours, theirs, "--json").output)
    assert document["levels"]["usable"] is False
    assert document["clips"]["only_b"] == {"clips": 1, "first": ["00000000001_000000_000010"]}


def test_diff_names_no_more_clips_than_asked(ours, tmp_path):
    empty = write_folder(tmp_path / "empty", WANTED, [failed(WANTED[0], Outcome.TEMPORARY, "timeout")])
    result = run("diff", ours, empty, "--keys", 1)
    assert "only in A: 2\n    in B: 1 not_tried, 1 temporary (timeout)\n    00000000000" in result.output
    assert "    and 1 more; --keys names them\n" in result.output


def test_a_folder_called_diff_is_reached_by_its_path(tmp_path, monkeypatch):
    write_folder(tmp_path / "diff", WANTED, map(done, WANTED))
    monkeypatch.chdir(tmp_path)
    assert run("./diff").exit_code == 0
    assert (tmp_path / "diff" / CARD_NAME).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["diff"], "`preprocess card CLIPS` or `preprocess card diff A B`, got 'diff'"),
        (["diff", "a"], "got 'diff' 'a'"),
        (["a", "b"], "got 'a' 'b'"),
        (["none"], "none has no manifest.jsonl"),
        (["diff", "none", "none"], "none is no card.json and no folder with one"),
        (["none", "--keys", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_use_exits_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_help_shows_both_forms():
    output = run("--help").output
    assert "CLIPS | diff A B" in output
    assert "preprocess card clips\n" in output
    assert "preprocess card diff clips /mnt/theirs/card.json\n" in output
