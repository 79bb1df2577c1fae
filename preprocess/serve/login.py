"""Signing in: the token is posted once, a cookie that proves it is kept."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from preprocess.serve.render import page
from preprocess.serve.security import LOGIN
from preprocess.serve.session import SESSION_S, Keys

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def ask(request: Request) -> Response:
    """The form."""
    return page(request, "login.html", is_wrong=False)


@router.post(LOGIN)
def sign_in(request: Request, token: Annotated[str, Form()] = "") -> Response:
    """A session for whoever knows the token."""
    keys: Keys = request.app.state.keys
    if not keys.is_token(token.strip()):
        return page(request, "login.html", status=403, is_wrong=True)
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        keys.cookie,
        keys.new_session(),
        max_age=int(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def sign_out(request: Request) -> Response:
    """Forget the session."""
    keys: Keys = request.app.state.keys
    response = RedirectResponse(LOGIN, status_code=303)
    response.delete_cookie(keys.cookie, httponly=True, samesite="strict")
    return response
