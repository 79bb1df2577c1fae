"""Who gets in, and from where."""

import re

import pytest

from preprocess.errors import InvalidInput
from preprocess.serve import security, session
from preprocess.serve.config import ServeConfig
from preprocess.serve.security import MOST_BODY, MOST_FIELDS
from preprocess.serve.session import Keys
from preprocess.serve.token_file import read_token
from tests.preprocess.serve.small_root import FORM, TOKEN, client_of, make_root

HTML = {"Accept": "text/html"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGES = ("/", "/clips", "/failures", "/dataset", "/api/v1/runs", "/metrics", "/api/openapi.json", "/media/legend.png")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def client(served):
    return client_of(served)


@pytest.fixture(scope="module")
def guarded(served):
    return client_of(served, token=TOKEN, host="10.0.0.5", names=("Kineflow.example",))


def csrf_of(page):
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)[1]


def sign_in(client, token=TOKEN):
    form = {"token": token, "csrf": csrf_of(client.get("/login"))}
    return client.post("/login", data=form, headers=FORM)


@pytest.mark.parametrize("path", [*PAGES, "/nope", "/static/app.css"])
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


def test_refusals_have_the_headers_too(client):
    headers = client.get("/", headers={"Host": "evil.example"}).headers
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/clips", "/failures", "/dataset", "/login", "/nope", "/jobs"])
def test_pages_have_no_script_or_style_in_them(client, path):
    page = client.get(path, headers=HTML).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", page))
    assert not re.search(r'(src|href)="(https?:)?//', page)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST", "127.0.0.1"])
def test_own_names_are_answered(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "10.0.0.5", "[::2]", "[", "@", " "],
)
def test_other_names_are_not(client, host):
    answer = client.get("/", headers={"Host": host, **HTML})
    assert answer.status_code == 421
    assert "--name" in answer.json()["message"]


@pytest.mark.parametrize(("host", "status"), [("10.0.0.5", 200), ("kineflow.example", 200), ("192.168.1.1", 200)])
def test_names_and_numbers_of_a_public_address(guarded, host, status):
    assert guarded.get("/api/v1/runs", headers={"Host": host, **BEARER}).status_code == status
    assert guarded.get("/api/v1/runs", headers={"Host": "evil.example", **BEARER}).status_code == 421


def test_name_of_this_machine_where_others_reach_it(served, monkeypatch):
    monkeypatch.setattr(security.socket, "gethostname", lambda: "Server7")
    for host, status in (("10.0.0.5", 200), ("127.0.0.1", 421)):
        client = client_of(served, token=TOKEN, host=host)
        assert client.get("/api/v1/runs", headers={"Host": "server7:8765", **BEARER}).status_code == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "ftp://127.0.0.1:8765", "http://127.0.0.1:1", ""])
def test_what_changes_something_comes_from_our_pages(client, origin):
    assert client.post("/api/v1/jobs", json={}, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("origin", ["http://kineflow.example", "https://kineflow.example"])
def test_a_page_of_ours_behind_a_proxy_that_ends_tls(served, origin):
    client = client_of(served, token=TOKEN, names=("kineflow.example",), headers={"Host": "kineflow.example"})
    form = {"token": TOKEN, "csrf": csrf_of(client.get("/login"))}
    for sent, status in (
        ({"Origin": origin}, 303),
        ({"Origin": origin, "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": origin, "Sec-Fetch-Site": "none"}, 303),
        ({"Origin": origin, "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": origin, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": f"{origin}:81"}, 403),
        ({"Origin": "null"}, 403),
    ):
        assert client.post("/login", data=form, headers=sent).status_code == status
        client.cookies.clear()


@pytest.mark.parametrize("site", [None, "cross-site", "same-site", "none"])
def test_without_origin_the_browser_must_say_that_it_is_ours(client, site):
    headers = {"Sec-Fetch-Site": site} if site else {}
    assert client.post("/api/v1/jobs", json={}, headers=headers).status_code == 403
    assert client.post("/api/v1/jobs", json={}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 422


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_the_api_takes_json_only(client, kind):
    answer = client.post("/api/v1/jobs", content="{}", headers={**FORM, "Content-Type": kind})
    assert answer.status_code == 415
    path = f"/api/v1/jobs/{'0' * 16}/cancel"
    assert client.post(path, headers={**FORM, "Content-Type": kind}).status_code == 415  # also without a body


@pytest.mark.parametrize("path", ["/api/v1/jobs", f"/api/v1/jobs/{'0' * 16}"])
def test_delete_is_guarded_like_all_that_changes_something(client, guarded, path):
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}):
        assert client.delete(path, headers=headers).status_code == 403
    assert guarded.delete(path, headers={"Origin": "http://10.0.0.5", "Host": "10.0.0.5"}).status_code == 401
    assert client.request("DELETE", path, headers={**FORM, "Host": "evil.example"}).status_code == 421


def test_delete_needs_no_type_since_it_has_no_body(client, guarded):
    path = f"/api/v1/jobs/{'0' * 16}"
    assert client.delete(path, headers=FORM).status_code == 404
    assert guarded.delete(path, headers={"Host": "10.0.0.5", **BEARER}).status_code == 404
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.request("DELETE", path, content=b"x", headers={**FORM, "Content-Type": kind})
        assert answer.status_code == 415
    big = b" " * (MOST_BODY + 1)
    assert client.request("DELETE", path, content=big, headers=FORM).status_code == 413
    # a page of ours is changed by forms only
    assert client.delete("/logout", headers=FORM).status_code == 415


def test_forms_need_their_csrf_field(client):
    assert (
        client.post("/logout", data={"csrf": csrf_of(client.get("/jobs/new/download"))}, headers=FORM).status_code
        == 303
    )
    for fields in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "\u20ac"}):
        assert client.post("/logout", data=fields or None, headers=FORM).status_code in {403, 415}


def test_nothing_is_uploaded(client):
    answer = client.post("/logout", files={"file": b"content"}, headers=FORM)
    assert answer.status_code == 415


def test_requests_are_small(client):
    big = b" " * (MOST_BODY + 1)
    headers = {**FORM, "Content-Type": "application/json"}
    assert client.post("/api/v1/jobs", content=big, headers=headers).status_code == 413
    pieces = (big[start : start + 1000] for start in range(0, len(big), 1000))
    assert client.post("/api/v1/jobs", content=pieces, headers=headers).status_code == 413


def test_a_form_of_many_fields(client):
    answer = client.post("/logout", data={f"f{number}": "" for number in range(MOST_FIELDS + 1)}, headers=FORM)
    assert (answer.status_code, "1000 fields" in answer.text) == (413, True)


@pytest.mark.parametrize("path", PAGES)
def test_without_the_token_nothing_is_shown(guarded, path):
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    answer = guarded.get(path, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert guarded.post(path, headers=HTML).status_code == 401


@pytest.mark.parametrize("path", ["/static", "/statics", "/login/x", "/loginx"])
def test_only_the_page_to_sign_in_and_its_style_are_open(guarded, path):
    assert guarded.get(path).status_code == 401


def test_a_server_that_asks_for_no_token_takes_none(client):
    assert client.get("/", headers=BEARER).status_code == 200
    assert client.post("/api/v1/jobs", json={}, headers=BEARER).status_code == 403


@pytest.mark.parametrize("path", PAGES)
def test_with_the_token_all_is_shown(guarded, path):
    assert guarded.get(path, headers=BEARER).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_wrong_tokens(guarded, authorization):
    assert guarded.get("/api/v1/runs", headers={"Authorization": authorization}).status_code == 401
    answer = guarded.post("/api/v1/jobs", json={}, headers={"Authorization": authorization, **FORM})
    assert answer.status_code == 401


def test_a_program_with_the_token_needs_no_page(guarded):
    assert guarded.post("/api/v1/jobs", json={}, headers=BEARER).status_code == 422


def test_the_token_is_not_in_addresses(guarded):
    assert guarded.get(f"/api/v1/runs?token={TOKEN}").status_code == 401


def test_signing_in_and_out(served, tmp_path):
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(f"{TOKEN * 300}\n")
    token = read_token(tmp_path / "token")
    client = client_of(served, token=token)
    answer = sign_in(client, TOKEN * 300)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert TOKEN not in page.text
    assert client.post("/logout", data={"csrf": csrf_of(page)}, headers=FORM).status_code == 303
    assert client.get("/").status_code == 401


def test_signing_in_with_a_wrong_token(served):
    client = client_of(served, token=TOKEN)
    for token in ("", "wrong", TOKEN + "x", "\u20ac"):
        answer = sign_in(client, token)
        assert answer.status_code == 403
        assert "not the token" in answer.text
        assert "set-cookie" not in answer.headers
    assert client.get("/").status_code == 401


def test_a_form_of_another_session_is_refused(served):
    ours, theirs = client_of(served, token=TOKEN), client_of(served, token=TOKEN)
    sign_in(ours)
    sign_in(theirs)
    csrf = csrf_of(theirs.get("/", headers=HTML))
    assert ours.post("/logout", data={"csrf": csrf}, headers=FORM).status_code == 403


def test_sessions_cannot_be_made_up(monkeypatch):
    keys = Keys(TOKEN)
    made = keys.new_session()
    for others in ("a=b", "odd", 'theme="', "a[b]=(c)", "x y=z", "=", "\xe4=\xff", "k=a\u20acb"):
        assert keys.session_of(f"{others}; {keys.cookie}={made}; {others}") == made
    identity, until, signature = made.split(".")
    for wrong in (
        f"{identity}.{int(until) + 1}.{signature}",
        f"{identity}.{until}.{signature[:-1]}0x",
        f"{identity}.{until}.",
        f"{identity}.x.{signature}",
        Keys(TOKEN + "x").new_session(),
        "..",
        "",
    ):
        assert keys.session_of(f"{keys.cookie}={wrong}") == ""
    assert Keys(TOKEN).session_of(f"{keys.cookie}={made}") == made, "a restart signs nobody out"
    monkeypatch.setattr(session.time, "time", lambda: float(until) + 1)
    assert keys.session_of(f"{keys.cookie}={made}") == ""


def test_two_servers_of_one_host_have_a_cookie_each():
    one, other = Keys(TOKEN), Keys(TOKEN + "x")
    made, others = one.new_session(), other.new_session()
    both = f"{one.cookie}={made}; {other.cookie}={others}"
    assert (one.session_of(both), other.session_of(both)) == (made, others)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "example.org", "128.0.0.1"])
def test_other_addresses_demand_a_token(tmp_path, host):
    with pytest.raises(InvalidInput, match=r"--token-file FILE.*secrets\.token_urlsafe"):
        ServeConfig(root=tmp_path, host=host)
    assert ServeConfig(root=tmp_path, host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(tmp_path, host):
    assert ServeConfig(root=tmp_path, host=host).token is None


@pytest.mark.parametrize("name", ["kineflow.example:8443", "https://kineflow.example", "kineflow.example/", ""])
def test_names_that_no_request_has(tmp_path, name):
    with pytest.raises(InvalidInput, match="is no host name; give --name without scheme, port and path"):
        ServeConfig(root=tmp_path, names=("kineflow.example", "fd00::1", name))


@pytest.mark.parametrize("token", ["short", "x" * 19, "with a blank in the middle of it", "\u20ac" * 30, ""])
def test_tokens_that_are_none(tmp_path, token):
    with pytest.raises(InvalidInput, match="make one with"):
        ServeConfig(root=tmp_path, token=token)


def test_the_token_is_never_logged(served, caplog):
    client = client_of(served, token=TOKEN)
    with caplog.at_level("DEBUG"):
        sign_in(client)
        client.get("/clips", headers=BEARER)
        client.get("/clips", headers={"Authorization": f"Bearer {TOKEN}x"})
    assert TOKEN not in caplog.text
