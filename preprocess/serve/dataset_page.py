"""The page of the data set: its card, and the clips of every class."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from preprocess.card.content import short
from preprocess.serve.asked import RunOrAll, index_of
from preprocess.serve.data_set import CardView
from preprocess.serve.index.counts import labels
from preprocess.serve.render import page
from preprocess.serve.run_folders import Kind

router = APIRouter(include_in_schema=False)


@router.get("/dataset")
def dataset(request: Request, run: RunOrAll = "") -> Response:
    """The data set of a run; by default of the first folder of clips."""
    folders = request.app.state.runs.folders()
    found = next((folder for folder in folders if folder.id == run), None)
    found = (
        found or next((folder for folder in folders if folder.kind is Kind.CLIPS), None) or next(iter(folders), None)
    )
    with index_of(request) as db:
        counts = labels(db, run=found.id) if found else []
    nothing = CardView(card=None, notes=("shards have no card of their own; that of their clips says what they hold",))
    view = request.app.state.cards.view(found) if found and found.kind is Kind.CLIPS else nothing
    wanted = {} if view.card is None else {one.label: one for one in view.card.classes}
    return page(
        request,
        "dataset.html",
        runs=folders,
        found=found,
        view=view,
        counts=counts,
        wanted=wanted,
        most=max((count.clips for count in counts), default=0),
        short=short,
        progress=request.app.state.index.progress(),
    )
