"""GET /metrics of the server: all runs below ROOT, and the GPUs of this machine."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest

from preprocess.metrics.gpu_metrics import GpuCollector
from preprocess.metrics.run_metrics import RunCollector, RunSample
from preprocess.metrics.sampling import sample_folder

router = APIRouter()
_gpus = GpuCollector()


@router.get(
    "/metrics",
    response_class=Response,
    summary="Metrics for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Every run below ROOT, with its folder relative to ROOT as the label `run`, as text or as OpenMetrics."""

    def look() -> Iterator[RunSample]:
        for run in request.app.state.runs.folders():
            yield sample_folder(run.folder, run=run.name)

    registry = CollectorRegistry()
    registry.register(RunCollector(look))
    registry.register(_gpus)
    try:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):  # a version that is no number
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return Response(encode(registry), headers={"Content-Type": content_type})
