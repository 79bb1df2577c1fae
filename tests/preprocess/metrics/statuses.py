"""Samples of runs, and expositions read back by Prometheus' own parser."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from preprocess.limiter import Pause
from preprocess.metrics.run_metrics import RunCollector, RunSample
from preprocess.status.run_status import RunState, ShardCount, Status
from preprocess.status.work import Work

HOSTILE = 'a "quote"\\ and\na line \x1b[2J \udc80'


def status(**fields) -> Status:
    values = {
        "command": "flow",
        "pid": 12,
        "host": "node7",
        "state": RunState.RUNNING,
        "started": 1_000_000.0,
        "updated": 1_000_060.0,
        "total": 100,
        "finished": 12,
        "outcomes": {"done": 10, "bad_media": 2},
        "sources": {},
        "already": {"done": 64},
        "waiting": 3,
        "rate_per_s": 0.2,
        "rate_overall_per_s": 0.2,
        "eta_s": 440.0,
        "pauses": (Pause(identity="youtube", until=1_000_900.0, reason="bot wall"),),
        "work": Work(seconds={"decode": 5.0, "flow": 50.5}, frames=3000, flow_pairs=2990, bytes=4_000_000),
        "shards": ShardCount(total=20, already=2, made=1),
    }
    return Status(**{**values, **fields})


def sample(*, run: str = "shards", state: str = "running", free_bytes: int = 5_000, **fields) -> RunSample:
    return RunSample(run=run, state=state, free_bytes=free_bytes, status=status(**fields))


def exposed(*samples: RunSample) -> bytes:
    """As Prometheus scrapes it."""
    registry = CollectorRegistry()
    registry.register(RunCollector(lambda: samples))
    return generate_latest(registry)


def read(text: bytes) -> dict[tuple, float]:
    """(name, own labels without `run` and `command`) to value, of an exposition of one run."""
    return {
        (found.name, *(value for label, value in sorted(found.labels.items()) if label not in {"run", "command"})): (
            found.value
        )
        for family in text_string_to_metric_families(text.decode())
        for found in family.samples
    }
