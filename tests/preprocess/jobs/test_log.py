import os

import pytest

from preprocess.errors import EnvironmentProblem
from preprocess.jobs.log import MOST_BYTES, last_error, plain, read_log


def write(tmp_path, content):
    path = tmp_path / "log.txt"
    path.write_bytes(content)
    return path


def read_all(path, *, offset=0, is_whole=True):
    parts = []
    while True:
        part = read_log(path, offset=offset, is_whole=is_whole)
        assert part.next - part.offset <= MOST_BYTES
        if part.next == offset:
            return parts
        assert part.offset == offset
        parts.append(part.text)
        offset = part.next


def test_parts_join_to_the_whole(tmp_path):
    lines = "".join(f"clip {i}: \u00fcn\u00efcode \u20ac{'x' * (i % 200)}\n" for i in range(3000))
    parts = read_all(write(tmp_path, lines.encode()))
    assert len(parts) > 4
    assert "".join(parts) == lines
    assert all(part.endswith("\n") for part in parts)


def test_line_that_is_being_written_waits_for_its_end(tmp_path):
    path = write(tmp_path, b"one\ntw")
    part = read_log(path, offset=0, is_whole=False)
    assert (part.text, part.next, part.size) == ("one\n", 4, 6)
    assert read_log(path, offset=4, is_whole=False).next == 4
    assert read_log(path, offset=4, is_whole=True).text == "tw"


def test_line_longer_than_a_part_comes_in_pieces(tmp_path):
    line = b"x" * (2 * MOST_BYTES + 10)
    assert read_all(write(tmp_path, line + b"\nend\n")) == [
        *("x" * MOST_BYTES, "x" * MOST_BYTES),
        "x" * 10 + "\nend\n",
    ]


def test_without_an_offset_the_end_comes_from_a_line_on(tmp_path):
    path = write(tmp_path, b"".join(b"line %06d\n" % i for i in range(20_000)))
    part = read_log(path, offset=None, is_whole=False)
    assert part.text.startswith("line ")
    assert part.text.endswith("line 019999\n")
    assert part.next == part.size
    assert MOST_BYTES - 12 <= part.next - part.offset <= MOST_BYTES
    short = read_log(write(tmp_path, b"one\n"), offset=None, is_whole=False)
    assert (short.offset, short.text) == (0, "one\n")


@pytest.mark.parametrize("offset", [4, 5, 1 << 80])
def test_past_the_end_there_is_nothing(offset, tmp_path):
    part = read_log(write(tmp_path, b"one\n"), offset=offset, is_whole=True)
    assert (part.text, part.offset, part.next, part.size) == ("", 4, 4, 4)


def test_no_log_yet(tmp_path):
    part = read_log(tmp_path / "none", offset=0, is_whole=False)
    assert (part.text, part.next, part.size) == ("", 0, 0)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(EnvironmentProblem, match=r"cannot read .*it is a link or no file"):
            read_log(path, offset=0, is_whole=False)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2J\x1b[Hclear", "clear"),
        (b"\x1bcreset", "reset"),
        (b"bell\x07 and \x9b", "bell\\x07 and \ufffd"),
        (b"a\xc2\x9bb", "a\\x9bb"),
        (b"right\xe2\x80\xaeleft", "right\\u202eleft"),
        (b"1%\r2%\r\n", "1%\n2%\n"),
        (b"<script>&amp;", "<script>&amp;"),
        (b"\x1b", "\\x1b"),
    ],
)
def test_nothing_drives_the_terminal(content, text):
    assert plain(content) == text


def test_last_error(tmp_path):
    log = b"Error: first\nError: the \x1b[31mlatest\x1b[0m one\nmore\n"
    assert last_error(write(tmp_path, log)) == "Error: the latest one"
    assert last_error(write(tmp_path, b"fine\n" + b"y\n" * 100_000)) == ""
    assert last_error(write(tmp_path, b"y\n" * 100_000 + b"Error: late\n")) == "Error: late"
    assert last_error(tmp_path / "none") == ""
