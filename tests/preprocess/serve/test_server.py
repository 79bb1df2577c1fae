"""`preprocess serve` as it is typed."""

import os
import re
import signal
import socket
import time
import urllib.request

import pytest
from click.testing import CliRunner

from preprocess.cli import main
from preprocess.paths import exclusive
from tests.preprocess.serve.server_process import serving
from tests.preprocess.serve.small_root import TOKEN, make_root


@pytest.fixture
def small(tmp_path):
    return make_root(tmp_path / "root")


def run(*arguments):
    result = CliRunner().invoke(main, ["serve", *map(str, arguments)])
    return result.exit_code, result.output


def asked(address, path, **headers):
    with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers)) as answer:
        return answer.read().decode()


def raw(address, request):
    host, port = re.search(r"//(.+):(\d+)/", address).groups()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_ends_at_once(small, number):
    with serving(small) as (process, address):
        assert "clips" in asked(address, "api/v1/runs")
        with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1].strip("/")))) as idle:
            # a visitor that never finishes, and is known: one who comes as it ends is waited for, and told of
            idle.sendall(b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            idle.sendall(b"GET / HTTP/1.1\r\n")
            began = time.monotonic()
            process.send_signal(number)
            output, errors = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
        assert process.returncode == 0
        assert "ended" in output
        assert errors == ""


def test_addresses_that_lead_out_get_nothing(small):
    with serving(small) as (_, address):
        for path in (
            b"/static/../../etc/passwd",
            b"/../../../etc/passwd",
            b"/static/%2e%2e/%2e%2e/setup.cfg",
            b"//etc/passwd",
        ):
            answer = raw(address, b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 404"), answer[:80]
            assert b"root:" not in answer
        answer = raw(address, b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert answer.split()[1] in {b"400", b"421"}
        assert raw(address, b"GET / HTTP/1.0\r\n\r\n").split()[1] == b"421"


def test_the_token_of_a_file(small, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    token_file.chmod(0o600)
    with serving(small, "--token-file", token_file) as (process, address):
        assert asked(address, "api/v1/index", Authorization=f"Bearer {TOKEN}")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(address, "api/v1/index")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert TOKEN not in output + errors


def test_a_port_in_use(small):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code, output = run(small, "--port", port)
    assert code == 3
    assert f"port {port} is in use" in output
    assert "--port" in output


def test_an_address_that_is_not_ours(small, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    code, output = run(small, "--host", "192.0.2.1", "--token-file", token_file)
    assert code == 3
    assert "cannot listen on 192.0.2.1" in output


def test_an_address_in_brackets(small, monkeypatch):
    hosts = []
    monkeypatch.setattr("preprocess.serve.server.serve", lambda config, **_: hosts.append(config.host))
    run(small, "--host", "[::1]")
    assert hosts == ["::1"]


def test_no_such_root(tmp_path):
    code, output = run(tmp_path / "nope")
    assert (code, "is no folder" in output) == (2, True)


def test_a_root_that_holds_nothing_of_ours(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    code, output = run(tmp_path)
    assert code == 2
    assert "manifest.jsonl" in output
    assert list(tmp_path.iterdir()) == [tmp_path / "holiday.jpg"]


def test_another_address_without_a_token(small):
    code, output = run(small, "--host", "0.0.0.0")
    assert code == 2
    assert "--token-file FILE" in output


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (TOKEN, 0o644, "chmod 600"),
        ("", 0o600, "is empty"),
        ("short", 0o600, "it needs 20"),
        ("\x00" * 30, 0o600, "make one with"),
        (None, 0o600, "cannot read"),
    ],
)
def test_bad_token_files(small, tmp_path, content, mode, message):
    token_file = tmp_path / "token"
    if content is not None:
        token_file.write_text(content)
        token_file.chmod(mode)
    code, output = run(small, "--token-file", token_file)
    assert (code, message in output) == (2, True), output


def test_two_servers_of_one_index(small):
    index = small / ".kineflow-serve" / "index.sqlite"
    index.parent.mkdir()
    with exclusive(index, lock=index.with_name("index.sqlite.lock")):
        code, output = run(small, "--port", "0")
    assert code == 3
    assert f"index.sqlite is in use by process {os.getpid()}" in output


def test_an_index_in_the_folder_of_a_run(small):
    with exclusive(small / "clips"), serving(small, "--index", small / "clips" / "index.sqlite") as (_, address):
        assert "clips" in asked(address, "api/v1/runs")


def test_an_index_that_is_something_else(small, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    code, output = run(small, "--port", "0", "--index", file)
    assert (code, "--index" in output, file.read_text()) == (2, True, "mine")


def test_an_index_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    code, output = run(small, "--port", "0", "--index", tmp_path / "file" / "index.sqlite")
    assert (code, "--index" in output) == (3, True)
