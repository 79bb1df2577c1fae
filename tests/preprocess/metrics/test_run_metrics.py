import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from preprocess.metrics.run_metrics import NONE, RUN_METRICS, UNREADABLE, RunCollector, RunSample
from preprocess.outcomes import Outcome
from tests.preprocess.metrics.statuses import HOSTILE, exposed, read, sample


def test_values_are_those_of_the_status():
    values = read(exposed(sample()))
    expected = {
        ("kineflow_run_start_timestamp_seconds",): 1_000_000.0,
        ("kineflow_run_update_timestamp_seconds",): 1_000_060.0,
        ("kineflow_run_eta_seconds",): 440.0,
        ("kineflow_run_state", "running"): 1.0,
        ("kineflow_run_state", "finished"): 0.0,
        ("kineflow_clips_planned",): 100.0,
        ("kineflow_clips_total", "done"): 10.0,
        ("kineflow_clips_total", "bad_media"): 2.0,
        ("kineflow_clips_already", "done"): 64.0,
        ("kineflow_clips_waiting",): 3.0,
        ("kineflow_shards_planned",): 20.0,
        ("kineflow_shards_total",): 1.0,
        ("kineflow_shards_already",): 2.0,
        ("kineflow_frames_total",): 3000.0,
        ("kineflow_flow_pairs_total",): 2990.0,
        ("kineflow_written_bytes_total",): 4_000_000.0,
        ("kineflow_stage_seconds_total", "flow"): 50.5,
        ("kineflow_source_pauses",): 1.0,
        ("kineflow_source_pause_end_timestamp_seconds", "youtube"): 1_000_900.0,
        ("kineflow_disk_free_bytes",): 5_000.0,
    }
    assert expected.items() <= values.items()
    assert {name for name, *_ in expected} == {metric.name for metric in RUN_METRICS}


def test_what_may_be_counted_is_there_from_the_start():
    """Else the first failure would be a new series, and no increase."""
    values = read(exposed(sample(outcomes={}, command="download", shards=None)))
    outcomes = {key[1] for key in values if key[0] == "kineflow_clips_total"}
    assert outcomes == {outcome.value for outcome in Outcome}
    assert values["kineflow_clips_total", "quarantined"] == 0
    assert values["kineflow_stage_seconds_total", "fetch"] == 0


def test_a_run_that_ended_has_no_time_left_and_no_pauses():
    names = {name for name, *_ in read(exposed(sample(state="stopped")))}
    gone = {"kineflow_run_eta_seconds", "kineflow_source_pauses", "kineflow_clips_waiting"}
    assert not gone & names
    assert "kineflow_clips_total" in names


@pytest.mark.parametrize("state", [NONE, UNREADABLE])
def test_a_folder_without_a_status_has_its_state_and_its_disk(state):
    values = read(exposed(RunSample(run="x", state=state, free_bytes=7)))
    assert values["kineflow_run_state", state] == 1
    assert {name for name, *_ in values} == {"kineflow_run_state", "kineflow_disk_free_bytes"}


def test_runs_are_told_apart_by_their_label():
    text = exposed(sample(run="a"), sample(run="b", command="download", shards=None)).decode()
    assert 'kineflow_clips_planned{command="flow",run="a"} 100.0\n' in text
    assert 'kineflow_clips_planned{command="download",run="b"} 100.0\n' in text
    assert text.count("# TYPE kineflow_clips_planned gauge\n") == 1


def test_hostile_labels_are_escaped():
    text = exposed(sample(run=HOSTILE, outcomes={HOSTILE: 1})).decode()
    (found,) = (
        found
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == "kineflow_clips_total" and found.labels["outcome"] not in set(Outcome)
    )
    assert found.labels["run"] == found.labels["outcome"] == HOSTILE.replace("\udc80", "\\udc80")
    assert all(line.startswith(("#", "kineflow_")) for line in text.splitlines() if line)


def test_names_follow_the_conventions():
    for metric in RUN_METRICS:
        assert re.fullmatch(r"kineflow(_[a-z]+)+", metric.name)
        assert not re.search(r"_(ms|minutes|hours|kb|mb|gb|percent)(_|$)", metric.name)
        assert metric.help.endswith(".")
        assert "\n" not in metric.help


@pytest.mark.parametrize("kind", ["text", "openmetrics"])
def test_every_family_has_its_help_and_type(kind):
    registry = CollectorRegistry()
    registry.register(RunCollector(lambda: [sample()]))
    families = (
        text_string_to_metric_families(exposed(sample()).decode())
        if kind == "text"
        else read_openmetrics(generate_openmetrics(registry).decode())  # this parser refuses what breaks the format
    )
    found = {family.name.removesuffix("_total"): (family.type, family.documentation) for family in families}
    assert found == {
        metric.name.removesuffix("_total"): ("counter" if metric.name.endswith("_total") else "gauge", metric.help)
        for metric in RUN_METRICS
    }
