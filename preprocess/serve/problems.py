"""What went wrong, as JSON for programs and as a page for people."""

import logging
import sqlite3
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from preprocess.errors import BadShard, EnvironmentProblem, KineflowError
from preprocess.serve.render import page

API = "/api/"

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why a request got no answer."""

    message: str
    """One sentence for people."""
    details: list[str] = []
    """What is wrong with each parameter, where that is the reason."""


Answers = dict[int | str, dict[str, Any]]

BAD_QUERY: Answers = {422: {"model": Problem, "description": "A parameter is out of its bounds"}}
NOT_FOUND: Answers = {404: {"model": Problem, "description": "There is no such thing"}}
DAMAGED: Answers = {409: {"model": Problem, "description": "It is there, and cannot be read"}}
COMMON: Answers = {
    400: {"model": Problem, "description": "A file below ROOT is not what it should be"},
    401: {"model": Problem, "description": "The token is missing or wrong"},
    403: {"model": Problem, "description": "What changes something did not come from a page of this server"},
    413: {"model": Problem, "description": "The request is too long"},
    415: {"model": Problem, "description": "What changes something is sent as JSON"},
    421: {"model": Problem, "description": "The server is not called so"},
    503: {"model": Problem, "description": "The index is being made anew, or the machine cannot do it"},
}
"""What every address may answer."""


def add_handlers(app: FastAPI) -> None:
    """Answer every error of a kind that we know."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(KineflowError, _ours)
    app.add_exception_handler(sqlite3.DatabaseError, _index)


def answer(request: Request, status: int, message: str, *, details: tuple[str, ...] = ()) -> Response:
    """The same news for a program or a person."""
    if request.url.path.startswith(API) or "text/html" not in request.headers.get("accept", "text/html"):
        return JSONResponse(Problem(message=message, details=list(details)).model_dump(), status_code=status)
    phrase = HTTPStatus(status).phrase
    return page(request, "problem.html", status=status, phrase=phrase, message=message, details=details)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer(request, error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = tuple(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in jsonable_encoder(error.errors(), exclude={"ctx", "input"})
    )
    return answer(request, 422, "the request holds what this page does not take", details=details)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, KineflowError)
    status = 503 if isinstance(error, EnvironmentProblem) else 409 if isinstance(error, BadShard) else 400
    return answer(request, status, str(error))


async def _index(request: Request, error: Exception) -> Response:
    if isinstance(error, sqlite3.OperationalError):  # locked, or just being put in its place
        return answer(request, 503, f"the index cannot be read now ({error}); try again in a moment")
    if type(error) is not sqlite3.DatabaseError:
        raise error  # a mistake of ours
    logger.warning("the index cannot be read: %s; it is made anew", error)
    request.app.state.index.distrust()
    return answer(request, 503, "the index is damaged and is being made anew; try again in a moment")
