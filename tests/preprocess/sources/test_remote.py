from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from preprocess.errors import Cause, TemporarilyUnavailable, Unavailable
from preprocess.schedule import RetryPolicy
from preprocess.sources.http import Connection
from preprocess.sources.remote import open_address
from tests.preprocess.archive_server import Fault, serving_archives

CONTENT = bytes(range(256)) * 4000
QUICK = Connection(timeout_s=5, retries=RetryPolicy(tries=4, first_s=0.01, longest_s=0.02))


@pytest.fixture
def server(tmp_path):
    with serving_archives(tmp_path / "site") as running:
        (running.folder / "a.tar").write_bytes(CONTENT)
        yield running


def read(address, connection=QUICK):
    with open_address(address, connection=connection) as (file, _):
        return b"".join(iter(lambda: file.read(50_000), b""))


def version(address):
    with open_address(address, connection=QUICK) as (_, found):
        return found


def test_body_comes_whole(server):
    assert read(f"{server.url}/a.tar") == CONTENT


def test_spaces_and_signs_in_an_address_are_quoted(server):
    (server.folder / "mountain climber (exercise).tar.gz").write_bytes(b"x")
    assert read(f"{server.url}/mountain climber (exercise).tar.gz") == b"x"
    assert server.requests[0][0] == "/mountain%20climber%20(exercise).tar.gz"


def test_nothing_is_unzipped_on_the_way(server):
    server.faults["a.tar"] = [Fault(headers={"Content-Encoding": "gzip"})]
    assert read(f"{server.url}/a.tar") == CONTENT
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_cut_connection_is_resumed_at_the_byte_reached(server):
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(cut=700_000)]
    assert read(f"{server.url}/a.tar") == CONTENT
    assert server.ranges_asked() == [None, "bytes=300000-", "bytes=700000-"]


def test_server_that_ignores_ranges_is_read_again_up_to_the_byte_reached(server):
    server.ranges = False
    server.faults["a.tar"] = [Fault(cut=300_000)]
    assert read(f"{server.url}/a.tar") == CONTENT
    assert len(server.requests) == 2


def test_cut_while_skipping_is_tried_again(server):
    server.ranges = False
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(cut=200_000)]
    assert read(f"{server.url}/a.tar") == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("content", [b"new" * 300_000, CONTENT[:-1], b"short", CONTENT[::-1]])
def test_content_that_changes_meanwhile_is_an_error_and_no_mix(server, content, ranges):
    server.ranges = ranges
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(content=content)]
    with pytest.raises(TemporarilyUnavailable, match="changed while it was read"):
        read(f"{server.url}/a.tar")


def test_server_that_ignores_if_range_does_not_make_a_mix(server):
    server.tags = "W/{}"  # not sent in If-Range
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(content=CONTENT[::-1])]
    with pytest.raises(TemporarilyUnavailable, match="changed while it was read"):
        read(f"{server.url}/a.tar")
    assert "If-Range" not in server.requests[1][1]


def test_content_that_cannot_be_told_from_another_is_not_resumed(server):
    server.tags = ""
    server.faults["a.tar"] = [Fault(cut=300_000)]
    with pytest.raises(TemporarilyUnavailable, match=r"a\.tar: .*IncompleteRead.*after 300000 bytes") as caught:
        read(f"{server.url}/a.tar")
    assert caught.value.cause is Cause.CONNECTION
    assert len(server.requests) == 1


def test_resuming_ends_after_so_many_tries_without_progress(server):
    server.faults["a.tar"] = [Fault(cut=300_000) for _ in range(9)]
    with pytest.raises(TemporarilyUnavailable, match="after 300000 bytes"):
        read(f"{server.url}/a.tar")
    assert len(server.requests) == QUICK.retries.tries


def test_progress_earns_new_tries(server, monkeypatch):
    monkeypatch.setattr("preprocess.sources.remote.PROGRESS_BYTES", 50_000)
    server.faults["a.tar"] = [Fault(cut=100_000 * i) for i in range(1, 10)]
    assert read(f"{server.url}/a.tar") == CONTENT


def test_busy_server_is_asked_again_while_resuming(server):
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(status=503, headers={"Retry-After": "0"})]
    assert read(f"{server.url}/a.tar") == CONTENT


def test_gone_while_resuming_is_gone(server):
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(status=410)]
    with pytest.raises(Unavailable, match="HTTP 410"):
        read(f"{server.url}/a.tar")


@pytest.mark.parametrize(
    ("status", "error", "cause"),
    [
        (404, Unavailable, Cause.NOT_FOUND),
        (410, Unavailable, Cause.NOT_FOUND),
        (403, TemporarilyUnavailable, Cause.FORBIDDEN),
        (429, TemporarilyUnavailable, Cause.RATE_LIMIT),
        (500, TemporarilyUnavailable, Cause.SERVER_ERROR),
        (503, TemporarilyUnavailable, Cause.SERVER_ERROR),
        (418, TemporarilyUnavailable, Cause.UNKNOWN),
        (204, TemporarilyUnavailable, Cause.UNKNOWN),
    ],
)
def test_status_decides(server, status, error, cause):
    server.faults["a.tar"] = [Fault(status=status)]
    with pytest.raises(error, match=rf"a\.tar.* HTTP {status}") as caught:
        read(f"{server.url}/a.tar")
    assert caught.value.cause is cause
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("in 100 s", 100),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("soon", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(server, header, seconds):
    if header == "in 100 s":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.faults["a.tar"] = [Fault(status=429, headers={"Retry-After": header})]
    with pytest.raises(TemporarilyUnavailable) as caught:
        read(f"{server.url}/a.tar")
    assert caught.value.retry_after_s == (seconds if seconds is None else pytest.approx(seconds, abs=20))


def test_silent_server_fails(server):
    server.faults["a.tar"] = [Fault(silent=True)]
    with pytest.raises(TemporarilyUnavailable) as caught:
        read(f"{server.url}/a.tar", Connection(timeout_s=0.2))
    assert caught.value.cause is Cause.TIMEOUT


def test_server_that_drips_fails(server):
    server.faults["a.tar"] = [Fault(drip_s=0.02) for _ in range(2)]
    with pytest.raises(TemporarilyUnavailable, match="less than 1024 bytes a second") as caught:
        read(f"{server.url}/a.tar", Connection(timeout_s=0.2, retries=RetryPolicy(tries=2, first_s=0.01)))
    assert caught.value.cause is Cause.TIMEOUT


def test_slow_reader_is_not_the_servers_fault(server):
    import time

    with open_address(f"{server.url}/a.tar", connection=Connection(timeout_s=0.1)) as (file, _):
        first = file.read(10)
        time.sleep(0.3)
        assert first + file.read() == CONTENT


def test_nobody_listening_fails():
    with pytest.raises(TemporarilyUnavailable, match=r"127\.0\.0\.1.*refused") as caught:
        read("http://127.0.0.1:9/a.tar")
    assert caught.value.cause is Cause.CONNECTION


def test_redirect_is_followed(server):
    server.faults["old.tar"] = [Fault(status=302, headers={"Location": "/a.tar"})]
    assert read(f"{server.url}/old.tar") == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a.tar", "http://[oops/", "http://a..b/"])
def test_redirect_away_from_http_fails(server, target):
    server.faults["old.tar"] = [Fault(status=302, headers={"Location": target})]
    with pytest.raises(TemporarilyUnavailable, match="redirects to, something that is no http address"):
        read(f"{server.url}/old.tar")


def test_redirects_in_a_circle_fail(server):
    server.faults["*"] = [Fault(status=302, headers={"Location": "/old.tar"}) for _ in range(20)]
    with pytest.raises(TemporarilyUnavailable, match="redirects"):
        read(f"{server.url}/old.tar")
    assert len(server.requests) < 10


def test_proxy_is_asked_with_its_user(server):
    proxy = server.url.replace("://", "://user:word@")
    assert read("http://mirror.invalid/a.tar", Connection(proxy=proxy)) == CONTENT
    path, headers = server.requests[0]
    assert path == "http://mirror.invalid/a.tar"
    assert headers["proxy-authorization"].startswith("Basic ")


def test_numbers_of_thousands_of_digits_say_nothing(server):
    digits = "9" * 5000
    server.faults["a.tar"] = [Fault(headers={"Content-Length": digits})]
    assert version(f"{server.url}/a.tar").length is None
    server.faults["a.tar"] = [Fault(cut=300_000), Fault(headers={"Content-Range": f"bytes {digits}-{digits}/*"})]
    with pytest.raises(TemporarilyUnavailable, match="changed while it was read"):
        read(f"{server.url}/a.tar")


def test_version_tells_contents_apart(server):
    first = version(f"{server.url}/a.tar")
    assert first == version(f"{server.url}/a.tar")
    (server.folder / "a.tar").write_bytes(CONTENT[::-1])
    assert first != version(f"{server.url}/a.tar")
    assert first.is_known


def test_version_of_a_file_changes_with_it(tmp_path):
    import os

    path = tmp_path / "a.tar"
    path.write_bytes(b"x")
    first = version(str(path))
    os.utime(path, (1, 1))
    assert version(str(path)) != first


@pytest.mark.parametrize("name", ["none.tar", "."])
def test_path_without_a_file_fails(tmp_path, name):
    with pytest.raises(Unavailable, match="does not exist or is not a file"):
        read(str(tmp_path / name))
