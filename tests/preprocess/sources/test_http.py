import pytest

from preprocess.errors import InvalidInput
from preprocess.sources.http import Connection, is_remote, quoted, seconds_of_retry_after


def test_addresses_are_quoted_once():
    assert quoted("https://h/a b(c).tar.gz") == "https://h/a%20b(c).tar.gz"
    assert quoted("https://h/a%20b?x=1&y=%2F") == "https://h/a%20b?x=1&y=%2F"


def test_a_hash_in_a_file_name_does_not_end_the_address():
    assert quoted("https://h/a#b.tar") == "https://h/a%23b.tar"


@pytest.mark.parametrize(
    "address",
    ["http://", "https://user:word@host/a.tar", "http://[h/a", "http://h:port/a", "file:///a", "ftp://h/a", "/a", ""],
)
def test_address_that_is_not_of_a_file_on_a_server_fails(address):
    with pytest.raises(InvalidInput, match="cannot be used; give"):
        quoted(address)


@pytest.mark.parametrize(
    ("text", "remote"), [("HTTP://h", True), ("https://h", True), ("file:///h", False), ("/h", False), ("https", False)]
)
def test_what_is_remote(text, remote):
    assert is_remote(text) is remote


@pytest.mark.parametrize(
    ("options", "message"), [({"timeout_s": 0}, "above 0 s"), ({"proxy": "socks5://h:1"}, "does not start with http")]
)
def test_connection_fails(options, message):
    with pytest.raises(InvalidInput, match=message):
        Connection(**options)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("9" * 400, 7 * 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 7 * 86_400),
        (f"Mon, 01 Jan 2024 00:00:00 +{'9' * 20}", None),
        (f"Mon, 01 Jan 2024 {'9' * 20}:00:00 GMT", None),
    ],
)
def test_times_that_no_calendar_has_are_not_waited_for(header, seconds):
    assert seconds_of_retry_after(header) == seconds
