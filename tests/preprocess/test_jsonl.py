import errno
import os

import pytest

from preprocess.errors import EnvironmentProblem
from preprocess.jsonl import append_line, line_of, read_lines


def numbers(path):
    return list(read_lines(path, parse=lambda fields: int(fields["n"])))


@pytest.mark.parametrize("durable", [True, False])
def test_lines_come_back_in_order(tmp_path, durable):
    for n in range(3):
        append_line(tmp_path / "a.jsonl", {"n": n, "text": "\u00e4\n\u2028"}, durable=durable)
    assert numbers(tmp_path / "a.jsonl") == [0, 1, 2]


def test_no_file_has_no_lines(tmp_path):
    assert numbers(tmp_path / "a.jsonl") == []


def test_file_that_cannot_be_read_fails(tmp_path):
    (tmp_path / "a.jsonl").symlink_to("/proc/self/mem")  # whose first byte is nowhere
    with pytest.raises(EnvironmentProblem, match=r"a\.jsonl cannot be read: Input/output error"):
        numbers(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "torn",
    [b'{"n": 1', b"\0\0\0\0", b"\xff\xfe", b"[1]", b'{"m": 1}', b'{"n": "x"}', b"7", b'{"n": 1}, {"n": 2}'],
)
def test_torn_line_is_left_out_by_number_and_takes_no_other_with_it(tmp_path, torn, caplog):
    path = tmp_path / "a.jsonl"
    append_line(path, {"n": 0})
    path.write_bytes(path.read_bytes() + torn)
    append_line(path, {"n": 2})
    assert numbers(path) == [0, 2]
    assert "line 2 is torn or malformed" in caplog.text


def test_number_of_a_torn_line_is_that_of_the_file(tmp_path, caplog):
    lines = [line_of({"n": n}) for n in range(250)]
    lines[210] = b"torn\n"
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    assert len(numbers(tmp_path / "a.jsonl")) == 249
    assert "line 211 is torn or malformed" in caplog.text


def test_whole_line_that_only_lacks_its_end_counts(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(line_of({"n": 1})[:-1])
    assert numbers(tmp_path / "a.jsonl") == [1]
    append_line(tmp_path / "a.jsonl", {"n": 2})
    assert numbers(tmp_path / "a.jsonl") == [1, 2]


@pytest.mark.parametrize("old", ["yoga", "n", "1", '"}'])
def test_line_that_changed_is_left_out(tmp_path, old, caplog):
    """Still JSON, most of it, and only its checksum tells."""
    path = tmp_path / "a.jsonl"
    for n in (0, 1, 2):
        append_line(path, {"n": n, "label": "yoga"})
    lines = path.read_bytes().splitlines(keepends=True)
    changed = bytes(byte ^ 1 for byte in old.encode()[-1:])
    place = lines[1].rindex(old.encode()) + len(old) - 1
    lines[1] = lines[1][:place] + changed + lines[1][place + 1 :]
    path.write_bytes(b"".join(lines))
    found = list(read_lines(path, parse=lambda fields: (fields["n"], fields["label"], len(fields))))
    assert found == [(0, "yoga", 2), (2, "yoga", 2)]
    assert "line 2 is torn or malformed" in caplog.text


def test_line_without_a_checksum_is_left_out(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n' + line_of({"n": 2}))
    assert numbers(tmp_path / "a.jsonl") == [2]
    assert "line 1 is torn or malformed" in caplog.text


def test_line_so_deep_that_no_parser_reads_it_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"[" * 100_000 + b"\n" + line_of({"n": 2}))
    assert numbers(tmp_path / "a.jsonl") == [2]


def test_folder_that_is_not_there_fails(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*free space, then run the command again"):
        append_line(tmp_path / "none" / "a.jsonl", {})


def test_line_is_in_the_file_before_that_is_synced(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr("preprocess.jsonl.os.fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    append_line(tmp_path / "a.jsonl", {"n": 1})
    append_line(tmp_path / "a.jsonl", {"n": 2}, durable=False)
    assert sizes == [len(line_of({"n": 1}))]


def test_full_disk_fails(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("preprocess.jsonl.os.fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        append_line(tmp_path / "a.jsonl", {})


def test_text_that_is_no_text_is_kept(tmp_path):
    append_line(tmp_path / "a.jsonl", {"reason": "caf\ud800 \xe9"})
    assert list(read_lines(tmp_path / "a.jsonl", parse=lambda fields: fields["reason"])) == ["caf\ud800 \xe9"]
