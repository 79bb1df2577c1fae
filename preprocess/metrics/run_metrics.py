"""The metrics of a run: their names, units and meaning, and how they follow from its status.

Names as Prometheus has them: base units, `_total` for what only grows. Counters count what one run did: a run that goes
on where another one stopped begins at 0 again, as those of a program do that is started again, and `rate()` and
`increase()` see that. What earlier runs left is in the gauges that end in `_already`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preprocess.outcomes import Outcome
from preprocess.status.run_status import RunState, Status
from preprocess.status.work import STAGES

NONE = "none"
"""State of a folder in which no run has published anything."""
UNREADABLE = "unreadable"
"""State where what was published is damaged."""

_STATES = (*(state.value for state in RunState), NONE, UNREADABLE)
_GOING = {RunState.RUNNING.value, RunState.PAUSED.value}

Values = Mapping[str, float] | float | None
"""One value, or one for each value of the metric's own label; None for nothing known."""


@dataclass(frozen=True, kw_only=True)
class RunSample:
    """A run at one moment."""

    run: str
    """Its folder, as the label `run` shows it."""
    state: str
    """Of `RunState`, or `NONE`, or `UNREADABLE`."""
    status: Status | None = None
    free_bytes: int | None = None
    """That the disk of its folder has left; None where that cannot be found out."""

    @property
    def command(self) -> str:
        """For the label of this name; empty while unknown."""
        return self.status.command if self.status else ""


@dataclass(frozen=True, kw_only=True)
class RunMetric:
    """One metric, with the labels `run` and `command`, and one of its own perhaps."""

    name: str
    """A counter if it ends in `_total`, else a gauge."""
    help: str
    values: Callable[[RunSample], Values]
    label: str = ""
    """Its own label."""

    def family(self, samples: Iterable[RunSample]) -> Metric:
        """The values of all runs, for an exposition."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        labels = ["run", "command", *([self.label] if self.label else [])]
        family = kind(self.name, self.help, labels=labels)
        for sample in samples:
            for own, value in self._parts(sample):
                family.add_metric([_text(each) for each in (sample.run, sample.command, *own)], value)
        return family

    def _parts(self, sample: RunSample) -> Iterator[tuple[tuple[str, ...], float]]:
        values = self.values(sample)
        if isinstance(values, Mapping):
            yield from (((name,), value) for name, value in values.items())
        elif values is not None:
            yield (), values


def _of(values: Callable[[Status], Values]) -> Callable[[RunSample], Values]:
    """The same of a sample, where the run has published something."""
    return lambda sample: values(sample.status) if sample.status else None


def _while_going(values: Callable[[Status], Values]) -> Callable[[RunSample], Values]:
    """The same of a run that has not ended."""
    return lambda sample: values(sample.status) if sample.status and sample.state in _GOING else None


# what may be counted is there from the start, at 0: else the first clip of a kind would be no increase
RUN_METRICS = (
    RunMetric(
        name="kineflow_run_state",
        help="1 for the state that the latest run is in, 0 for the others. A run that was killed is stopped; only a "
        "file that it wrote itself stays as it was, and kineflow_run_update_timestamp_seconds tells.",
        label="state",
        values=lambda sample: {state: float(state == sample.state) for state in _STATES},
    ),
    RunMetric(
        name="kineflow_run_start_timestamp_seconds",
        help="When the latest run began, since the epoch; its counters began at 0 then.",
        values=_of(lambda status: status.started),
    ),
    RunMetric(
        name="kineflow_run_update_timestamp_seconds",
        help="When the latest run last published how far it is, since the epoch.",
        values=_of(lambda status: status.updated),
    ),
    RunMetric(
        name="kineflow_run_eta_seconds",
        help="Time to the end of the run as it goes now, pauses included; absent while unknown.",
        values=_while_going(lambda status: status.eta_s),
    ),
    RunMetric(
        name="kineflow_clips_planned",
        help="Clips that the run tries.",
        values=_of(lambda status: status.total),
    ),
    RunMetric(
        name="kineflow_clips_total",
        help="Clips that got their outcome in this run.",
        label="outcome",
        values=_of(lambda status: {**dict.fromkeys(Outcome, 0), **status.outcomes}),
    ),
    RunMetric(
        name="kineflow_clips_already",
        help="Clips by the outcome that earlier runs left them with; of shards, those that this run has checked.",
        label="outcome",
        values=_of(lambda status: status.already),
    ),
    RunMetric(
        name="kineflow_clips_waiting",
        help="Clips that failed for now and will be tried once more in this run.",
        values=_while_going(lambda status: status.waiting),
    ),
    RunMetric(
        name="kineflow_shards_planned",
        help="Shards that there are to be, those of earlier runs included.",
        values=_of(lambda status: status.shards.total if status.shards else None),
    ),
    RunMetric(
        name="kineflow_shards_total",
        help="Shards published by this run.",
        values=_of(lambda status: status.shards.made if status.shards else None),
    ),
    RunMetric(
        name="kineflow_shards_already",
        help="Shards that earlier runs made and this one has checked.",
        values=_of(lambda status: status.shards.already if status.shards else None),
    ),
    RunMetric(
        name="kineflow_frames_total",
        help="Frames of the clips finished in this run, after resampling where that is done.",
        values=_of(lambda status: status.work.frames),
    ),
    RunMetric(
        name="kineflow_flow_pairs_total",
        help="Flow fields computed in this run, one for each pair of frames that follow each other.",
        values=_of(lambda status: status.work.flow_pairs),
    ),
    RunMetric(
        name="kineflow_written_bytes_total",
        help="Bytes of the clips or shards published by this run.",
        values=_of(lambda status: status.work.bytes),
    ),
    RunMetric(
        name="kineflow_stage_seconds_total",
        help="Time that workers spent in a stage in this run, all workers added up.",
        label="stage",
        values=_of(lambda status: {**dict.fromkeys(STAGES.get(status.command, ()), 0.0), **status.work.seconds}),
    ),
    RunMetric(
        name="kineflow_source_pauses",
        help="Identities (a site, and how it is reached) that are left alone now, after walls or on request.",
        values=_while_going(lambda status: len(status.pauses)),
    ),
    RunMetric(
        name="kineflow_source_pause_end_timestamp_seconds",
        help="When a source that is left alone will be asked again, since the epoch.",
        label="source",
        values=_while_going(lambda status: {pause.identity: pause.until for pause in status.pauses}),
    ),
    RunMetric(
        name="kineflow_disk_free_bytes",
        help="Room left on the disk of the run's folder.",
        values=lambda sample: sample.free_bytes,
    ),
)


class RunCollector(Collector):
    """All metrics of some runs, looked at anew each time.

    Args:
        look: gives the runs; each has its own `run`.
    """

    def __init__(self, look: Callable[[], Iterable[RunSample]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """For a registry."""
        samples = tuple(self._look())
        return (metric.family(samples) for metric in RUN_METRICS)


def _text(label: str) -> str:
    # half a surrogate pair, as in names that are not UTF-8, cannot be sent
    return label.encode(errors="backslashreplace").decode()
