"""From a template to a page: everything that is put into one is escaped, and a name that is missing is an error."""

from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from preprocess import words
from preprocess.serve.assets import address
from preprocess.serve.security import csrf_of

NAVIGATION = (("/", "Runs"), ("/clips", "Clips"), ("/failures", "Failures"), ("/dataset", "Dataset"), ("/jobs", "Jobs"))


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page, or a part of one.

    Args:
        request: that is answered.
        template: file name, of `templates/`.
        status: of HTTP.
        context: what the template names; `csrf`, `path` and `signed_in` are there too.
    """
    body = (
        _environment()
        .get_template(template)
        .render(
            **context,
            csrf=csrf_of(request),
            path=request.url.path,
            signed_in=request.app.state.config.token is not None,
            navigation=NAVIGATION,
        )
    )
    # a name from a file may hold what UTF-8 cannot carry
    return HTMLResponse(
        body.encode(errors="backslashreplace"), status_code=status, headers={"Cache-Control": "no-store"}
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("preprocess.serve"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = address
    environment.filters |= words.FILTERS
    return environment
