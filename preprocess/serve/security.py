"""What stands before every page: who may look, from which address, and what a form must prove.

- `Host` must be one of ours: another site whose name suddenly leads here (DNS rebinding) gets nothing.
- A request that changes something comes from a page of ours (`Origin`, or `Sec-Fetch-Site`), and is a form with its
  `csrf` field, or what no form can send: JSON, or DELETE. A program that knows the token needs no page.
- Where there is a token, everything but the sign-in page and its style wants it, or a session that began with it.
- Pages run our scripts only, load nothing from elsewhere and cannot be framed.
"""

import hmac
import socket
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preprocess.serve.config import ServeConfig, is_address, is_loopback
from preprocess.serve.session import Keys

LOGIN = "/login"
MOST_BODY = 64 << 10
"""Bytes of a request: options of a job; nothing is ever uploaded."""
MOST_FIELDS = 1000
"""Of a form."""
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # without any referrer browsers send `Origin: null` with forms, and no `Sec-Fetch-Site` over http from elsewhere
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Refusal(Exception):
    def __init__(self, *, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def csrf_of(request: Request) -> str:
    """What the field `csrf` of a form on the answer must hold."""
    keys: Keys = request.app.state.keys
    return keys.csrf(keys.session_of(request.headers.get("cookie", "")))


class Guard:
    """Middleware that lets through what is allowed.

    Args:
        app: the rest.
        config: names and address of the server.
        keys: who may look.
    """

    def __init__(self, app: ASGIApp, *, config: ServeConfig, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._names = {"127.0.0.1", "localhost", "::1", config.host.lower()}
        self._names |= {name.lower() for name in config.names}
        self._takes_addresses = not is_loopback(config.host)
        if self._takes_addresses:
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            receive = await self._let_in(scope, receive)
        except _Refusal as refusal:
            await _answer(scope, refusal)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    async def _let_in(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        self._check_host(headers)
        is_bearer = self._keys.is_bearer(headers.get("authorization", ""))
        session = self._keys.session_of(headers.get("cookie", ""))
        path: str = scope["path"]
        if not (self._keys.is_open or is_bearer or session or path == LOGIN or path.startswith("/static/")):
            raise _Refusal(status=401, message="this server asks for its token, as `Authorization: Bearer TOKEN`")
        if scope["method"] in SAFE_METHODS:
            return receive
        body = await _whole_body(headers, receive)
        if not is_bearer:
            _check_origin(headers, scheme=scope["scheme"])
            _check_content(headers, body, method=scope["method"], path=path, csrf=self._keys.csrf(session))
        return _replay(body, receive)

    def _check_host(self, headers: Mapping[str, str]) -> None:
        name = _host_name(headers.get("host", ""))
        # a name can be made to lead here by whoever owns it, a number cannot
        if name not in self._names and not (self._takes_addresses and is_address(name)):
            raise _Refusal(
                status=421, message=f"{name[:80]!r} is no name of this server; `preprocess serve --name` adds one"
            )


def _host_name(host: str) -> str:
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower()


async def _whole_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    body = b""
    too_long = _Refusal(status=413, message=f"a request has at most {MOST_BODY} bytes")
    declared = headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > MOST_BODY:
        raise too_long
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refusal(status=400, message="the request ended before its end")
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BODY:
            raise too_long
        if not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _check_origin(headers: Mapping[str, str], *, scheme: str) -> None:
    host = headers.get("host", "")
    # what browsers say of the site nobody can make up; they say it to https and to this machine only. The scheme is not
    # looked at: a proxy that ends TLS asks by http for a page of https
    site = headers.get("sec-fetch-site", "none")
    is_ours = headers.get("origin", "null") in {f"http://{host}", f"https://{host}"}
    is_same = is_ours if site == "none" else site == "same-origin"
    if not is_same:
        raise _Refusal(
            status=403,
            message="what changes something must come from a page of this server, or send "
            f"`Origin: {scheme}://{host[:100]}`, or the token",
        )


def _check_content(headers: Mapping[str, str], body: bytes, *, method: str, path: str, csrf: str) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if path.startswith("/api/"):
        # DELETE has no body to name the type of; that type is asked for since forms can send POST, also without a body
        if kind != "application/json" and (body or method != "DELETE"):
            raise _Refusal(status=415, message="the API takes `Content-Type: application/json`")
        return
    if kind != "application/x-www-form-urlencoded":
        raise _Refusal(status=415, message="a form is sent as application/x-www-form-urlencoded; nothing is uploaded")
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise _Refusal(status=413, message=f"a form has at most {MOST_FIELDS} fields") from error
    if not hmac.compare_digest(fields.get("csrf", [""])[0].encode(), csrf.encode()):
        raise _Refusal(status=403, message="this form is older than the server or your session; load the page anew")


def _answer(scope: Scope, refusal: _Refusal) -> Response:
    if refusal.status == HTTPStatus.UNAUTHORIZED and _is_page(scope):
        return RedirectResponse(LOGIN, status_code=303)
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse({"message": refusal.message, "details": []}, status_code=refusal.status, headers=headers)


def _is_page(scope: Scope) -> bool:
    """Whether a person waits for the answer."""
    return "text/html" in Headers(scope=scope).get("accept", "") and scope["method"] in SAFE_METHODS
