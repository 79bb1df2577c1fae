import re
from pathlib import Path

import pytest

from preprocess.annotations import read_lists
from preprocess.config import DownloadConfig, Identity, WorkerConfig
from preprocess.download import download
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.sources.ytdlp import export_browser_cookies
from preprocess.wanted import wanted_of
from tests.preprocess.conftest import VideoServer, numbered_frames, serving, write_video

COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n"


@pytest.fixture
def cookie_file(tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    return path


@pytest.fixture
def fetch(video_server, write_list, tmp_path):
    def call(count, **options):
        names = [f"{i:011d}" for i in range(count)]
        for name in names:
            write_video(video_server.folder / f"{name}.mp4", numbered_frames(50))
        path = write_list(*(("yoga", name, 0, 2, "train") for name in names))
        found = read_lists([path])
        config = DownloadConfig(out=tmp_path / "clips", **{"url_template": video_server.template, **options})
        return download(wanted_of(found, found.clips), config=config, workers=WorkerConfig(workers=0))

    return call


def test_proxies_take_turns(fetch, video_server):
    with serving(VideoServer(video_server.folder)) as one, serving(VideoServer(video_server.folder)) as two:
        identities = Identity.pair_up([one.url, two.url], [])
        # an address that is not this machine's own: those are asked directly
        report = fetch(4, identities=identities, url_template="http://video.invalid/{youtube_id}.mp4")
        assert report.outcomes == {"done": 4}
        assert [len({name for _, name, _ in proxy.requests}) for proxy in (one, two)] == [2, 2]
    assert video_server.requests == []


def test_cookies_are_sent_and_the_file_is_left_alone(fetch, video_server, cookie_file):
    odd = COOKIES.encode().replace(b"secret", "\u20ac".encode() + b"\xe9")
    cookie_file.write_bytes(odd)
    cookie_file.chmod(0o444)
    report = fetch(1, identities=(Identity(cookies=cookie_file),))
    assert report.outcomes == {"done": 1}
    assert {cookie.encode("latin-1") for cookie in video_server.cookies} == {b"session=\xe2\x82\xac\xe9"}
    assert cookie_file.read_bytes() == odd


def test_one_of_either_serves_all_of_the_other(cookie_file):
    pairs = Identity.pair_up(["http://a:1", "http://b:1"], [cookie_file])
    assert [(one.proxy, one.cookies) for one in pairs] == [("http://a:1", cookie_file), ("http://b:1", cookie_file)]
    assert Identity.pair_up([], []) == (Identity(),)


def test_numbers_that_cannot_be_paired_fail(cookie_file):
    with pytest.raises(InvalidInput, match="3 proxies and 2 cookie files cannot be paired"):
        Identity.pair_up(["http://a:1", "http://b:1", "http://c:1"], [cookie_file, cookie_file])


def test_names_tell_identities_apart_and_keep_secrets(cookie_file):
    one = Identity(proxy="socks5://user:word@host:1080", cookies=cookie_file)
    assert one.name == "via host:1080 with cookies.txt"
    config = DownloadConfig(out=cookie_file.parent, identities=(one, Identity()))
    assert list(config.askers("youtube")) == ["youtube via host:1080 with cookies.txt", "youtube"]
    template = "https://user:word@site:8080/{youtube_id}"
    config = DownloadConfig(out=cookie_file.parent, url_template=template)
    assert list(config.askers("url")) == ["site:8080"]
    assert config.narrowed("url", "site:8080").url_template == template


def test_workers_have_no_path_that_depends_on_where_they_are(cookie_file, monkeypatch):
    monkeypatch.chdir(cookie_file.parent)
    one = Identity(cookies=Path(cookie_file.name))
    config = DownloadConfig(out=Path("clips"), source_dir=Path(), identities=(one, Identity())).absolute()
    here = cookie_file.parent
    assert (config.out, config.source_dir) == (here / "clips", here)
    assert [identity.cookies for identity in config.identities] == [cookie_file, None]
    assert DownloadConfig(out=Path("clips")).absolute().source_dir is None


def test_equal_identities_fail(tmp_path):
    with pytest.raises(InvalidInput, match="two identities are called 'via a:1'"):
        DownloadConfig(out=tmp_path, identities=Identity.pair_up(["http://a:1", "http://a:1"], []))


@pytest.mark.parametrize("proxy", ["host:3128", "file:///etc/passwd", "http://a/path", "http://a b", "http://[a:1", ""])
def test_bad_proxy_fails(proxy):
    with pytest.raises(InvalidInput, match=re.escape(f"proxy {proxy!r} is not an address such as")):
        Identity(proxy=proxy)


def test_cookie_file_that_is_not_there_fails(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        Identity(cookies=tmp_path / "none.txt")


def test_a_file_without_cookies_fails_by_name(tmp_path):
    path = tmp_path / "page.txt"
    path.write_text("<html>")
    with pytest.raises(InvalidInput, match=r"cookie file .*page\.txt is not in Netscape format"):
        Identity(cookies=path)


def test_an_unknown_browser_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"\Acookies from browser 'netscape': unsupported browser .*: brave,"):
        export_browser_cookies("netscape", tmp_path / "cookies.txt")


def test_a_browser_that_is_not_here_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=r"cannot read the cookies of 'firefox'.*use --cookies with a file"):
        export_browser_cookies("firefox", tmp_path / "cookies.txt")


def test_a_browser_s_cookies_are_for_its_owner_only(tmp_path, monkeypatch):
    import sqlite3

    profile = tmp_path / ".mozilla" / "firefox" / "me.default"
    profile.mkdir(parents=True)
    with sqlite3.connect(profile / "cookies.sqlite") as database:
        database.execute(
            "CREATE TABLE moz_cookies (host TEXT, name TEXT, value TEXT, path TEXT, expiry INTEGER, isSecure INTEGER,"
            " originAttributes TEXT)"
        )
        database.execute("INSERT INTO moz_cookies VALUES ('.youtube.com', 'SID', 'secret', '/', 4000000000, 1, '')")
    target = tmp_path / "cookies.txt"
    export_browser_cookies(f"firefox:{profile}", target)
    assert "secret" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600
