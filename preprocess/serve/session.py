"""Who may look: the token itself in a header, or a cookie that proves that its bearer once knew it."""

import hashlib
import hmac
import secrets
import time

from starlette.requests import cookie_parser

SESSION_S = 7 * 86_400.0
"""Seconds until a visitor is asked for the token again."""


class Keys:
    """Makes and checks what browsers are given. The token is never among it.

    Args:
        token: None asks nobody for anything.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        # by the token, so that visitors stay signed in when the server restarts; a new token signs all out
        secret = secrets.token_bytes(32) if token is None else token.encode()
        self._session_key = hmac.digest(secret, b"kineflow session", "sha256")
        # browsers keep the cookies of all ports of a host together: two servers must not overwrite each other's
        self.cookie = f"kineflow_session_{_sign(self._session_key, 'cookie')[:8]}"
        self._csrf_key = hmac.digest(secret, b"kineflow form", "sha256")

    @property
    def is_open(self) -> bool:
        """Whether everybody may look."""
        return self._token is None

    def is_token(self, text: str) -> bool:
        """Whether `text` is the token, in a time that does not depend on how much of it is right."""
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())

    def is_bearer(self, authorization: str) -> bool:
        """Whether the header `Authorization` holds the token."""
        scheme, _, text = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(text.strip())

    def new_session(self) -> str:
        """The value of a cookie for somebody who knew the token."""
        content = f"{secrets.token_hex(16)}.{int(time.time() + SESSION_S)}"
        return f"{content}.{_sign(self._session_key, content)}"

    def session_of(self, cookies: str) -> str:
        """The session in the header `Cookie`; empty where there is none, it ended, or somebody made it up."""
        # the cookies of all servers of a host come together; not `SimpleCookie`, which drops all for an odd one
        session = cookie_parser(cookies).get(self.cookie, "")
        content, _, signature = session.rpartition(".")
        if not hmac.compare_digest(signature.encode(), _sign(self._session_key, content).encode()):
            return ""
        return session if int(content.partition(".")[2]) > time.time() else ""

    def csrf(self, session: str) -> str:
        """What a form of this session must send back: another site cannot read it."""
        return _sign(self._csrf_key, session)


def _sign(key: bytes, content: str) -> str:
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()
