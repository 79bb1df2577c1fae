"""The server put together: what stands before every page, and the pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from preprocess.metrics import endpoint
from preprocess.serve import (
    api,
    assets,
    clip_page,
    clips_page,
    dataset_page,
    failures_page,
    jobs_api,
    jobs_pages,
    login,
    media,
    problems,
    runs_page,
)
from preprocess.serve.config import ServeConfig
from preprocess.serve.data_set import Cards
from preprocess.serve.flow_statistics import StatisticsCache
from preprocess.serve.index.indexer import Indexer
from preprocess.serve.open_shards import OpenShards
from preprocess.serve.runs import Runs
from preprocess.serve.security import Guard
from preprocess.serve.session import Keys

_MODULES = (
    assets,
    login,
    runs_page,
    clips_page,
    clip_page,
    failures_page,
    dataset_page,
    media,
    api,
    jobs_api,
    jobs_pages,
    endpoint,
)
_ABOUT = """
Runs, clips, failures and the data set below one folder, and the jobs that make them.

Where the server was started with a token, send it as `Authorization: Bearer TOKEN`. What changes something is sent with
the token, or with an `Origin` header that is the server's own address and, but for DELETE, as `application/json`.
"""


def create_app(config: ServeConfig) -> FastAPI:
    """The application for one ROOT.

    `app.state` has `config`, `root`, `keys`, `runs`, `index`, `shards`, `statistics` and `cards`, for the pages. The
    index is kept up to date from the start of the server to its end.

    Raises:
        InvalidInput: the file for the index is something else.
        EnvironmentProblem: the index cannot be written, or another server has it.
    """
    # the documentation pages of FastAPI load scripts from elsewhere
    app = FastAPI(
        title="kineflow",
        version=version("kineflow"),
        description=_ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_index_kept,
    )
    keys = Keys(config.token)
    app.state.config = config
    app.state.root = config.root
    app.state.keys = keys
    app.state.runs = Runs(config.root)
    app.state.index = Indexer(config.index_path, runs=app.state.runs)
    app.state.shards = OpenShards()
    app.state.statistics = StatisticsCache()
    app.state.cards = Cards()
    for module in _MODULES:
        app.include_router(module.router, responses=problems.COMMON)
    problems.add_handlers(app)
    app.add_middleware(Guard, config=config, keys=keys)
    return app


@asynccontextmanager
async def _index_kept(app: FastAPI) -> AsyncIterator[None]:
    app.state.index.start()
    try:
        yield
    finally:
        app.state.index.stop()
