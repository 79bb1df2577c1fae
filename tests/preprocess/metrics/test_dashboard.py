"""The example files that go with the metrics: `docker/grafana-dashboard.json` and `docker/prometheus.yaml`."""

import json
import re
from pathlib import Path

import pytest
import yaml

from preprocess.metrics.gpu_metrics import GPU_METRICS
from preprocess.metrics.run_metrics import RUN_METRICS
from preprocess.serve.config import ServeConfig

DOCKER = Path(__file__).parents[3] / "docker"
DASHBOARD = json.loads((DOCKER / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
LABELS = {
    **{metric.name: {"run", "command", *filter(None, [metric.label])} for metric in RUN_METRICS},
    **{name: {"gpu", "uuid", "model"} for name in GPU_METRICS},
}
"""Name to labels, of all that is exposed."""


def names_in(expression):
    return set(re.findall(r"\bkineflow_\w+", expression))


@pytest.mark.parametrize("expression", [target["expr"] for target in TARGETS])
def test_expressions_name_metrics_and_labels_that_are_exposed(expression):
    names = names_in(expression)
    assert names
    assert names <= LABELS.keys()
    for name, selectors in re.findall(r"(kineflow_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors)) <= LABELS[name]
    for grouping in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        assert all(set(re.split(r"\s*,\s*", grouping)) <= LABELS[name] for name in names)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["legendFormat"])
def test_legends_show_labels_that_are_left(target):
    names = names_in(target["expr"])
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"instance"}
    grouped = re.match(r"sum by \(([^)]*)\)", target["expr"])
    left = set(re.split(r"\s*,\s*", grouped[1])) if grouped else set.intersection(*(LABELS[name] for name in names))
    assert shown <= left


def test_counters_are_shown_as_rates_or_as_they_stand():
    for expression in (target["expr"] for target in TARGETS):
        assert all(name.endswith("_total") for name in re.findall(r"rate\((kineflow_\w+)", expression))


def test_every_metric_is_in_a_panel():
    assert set().union(*(names_in(target["expr"]) for target in TARGETS)) == LABELS.keys()


def test_there_is_one_variable_for_the_data_source_and_all_use_it():
    variables = DASHBOARD["templating"]["list"]
    assert [one["name"] for one in variables if one["type"] == "datasource"] == ["datasource"]
    users = [*PANELS, *TARGETS, *(one for one in variables if one["type"] == "query")]
    assert {one["datasource"]["uid"] for one in users} == {"${datasource}"}
    for one in variables:
        assert names_in(one.get("definition", "")) <= LABELS.keys()


def test_panels_have_their_own_place():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_prometheus_scrapes_this_machine_and_shows_the_server_its_token():
    jobs = {job["job_name"]: job for job in yaml.safe_load((DOCKER / "prometheus.yaml").read_text())["scrape_configs"]}
    (server,) = jobs["kineflow"]["static_configs"][0]["targets"]
    default = ServeConfig(root=Path())
    assert server == f"{default.host}:{default.port}"
    assert jobs["kineflow"]["authorization"].keys() == {"type", "credentials_file"}
    for job in jobs.values():
        assert all(target.startswith("127.0.0.1:") for target in job["static_configs"][0]["targets"])
