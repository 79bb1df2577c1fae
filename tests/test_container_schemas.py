"""The files of docker/ against the schemas that those who read them publish."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import validators
from referencing import Registry, Resource

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
SCHEMAS = Path(__file__).parent / "schemas"

KUBERNETES = json.loads((SCHEMAS / "kubernetes.json").read_text())
REGISTRY = Registry().with_resource(KUBERNETES["$id"], Resource.from_contents(KUBERNETES))
SCHEMA_OF_KIND = {
    "Job": "io.k8s.api.batch.v1.Job",
    "Namespace": "io.k8s.api.core.v1.Namespace",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
}


def schema_of(path: Path, document: dict) -> dict:
    if path.name == "compose.yaml":
        return json.loads((SCHEMAS / "compose-spec.json").read_text())
    if path.name == "cluster.yaml":
        (ray,) = importlib.util.find_spec("ray").submodule_search_locations
        return json.loads((Path(ray) / "autoscaler" / "ray-schema.json").read_text())
    if document["kind"] == "RayCluster":
        return json.loads((SCHEMAS / "raycluster.json").read_text())
    return {"$ref": f"{KUBERNETES['$id']}#/$defs/{SCHEMA_OF_KIND[document['kind']]}"}


def complaints(path: Path, document: dict) -> list[str]:
    schema = schema_of(path, document)
    validator = validators.validator_for(schema, default=validators.Draft202012Validator)(schema, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


DOCUMENTS = [
    pytest.param(path, document, id=f"{path.name}-{document.get('kind', '')}")
    for path in (DOCKER / "cluster.yaml", DOCKER / "compose.yaml", DOCKER / "kuberay.yaml")
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize(("path", "document"), DOCUMENTS)
def test_document_keeps_to_its_schema(path, document):
    assert complaints(path, document) == []


def places(value, path=()):
    """Every mapping of a document, as the keys that lead to it."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


# where any field may stand
FREE = {"x-hardened", "environment", "requests", "limits", "provider", "file_mounts"}


@pytest.mark.parametrize(("path", "document"), DOCUMENTS)
def test_misspelt_field_fails(path, document):
    for place in places(document):
        if FREE.isdisjoint(place):
            broken = copy.deepcopy(document)
            inner = broken
            for key in place:
                inner = inner[key]
            inner["mispelt"] = 1
            assert complaints(path, broken), place


@pytest.mark.parametrize(
    ("name", "kind", "place", "value"),
    [
        ("compose.yaml", "", ("services", "serve", "ports"), "127.0.0.1:8765:8765"),
        ("compose.yaml", "", ("services", "flow", "cap_drop"), "ALL"),
        ("kuberay.yaml", "RayCluster", ("spec", "authOptions", "mode"), "password"),
        ("kuberay.yaml", "RayCluster", ("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        ("kuberay.yaml", "RayCluster", ("spec", "workerGroupSpecs", 0, "replicas"), "2"),
        ("kuberay.yaml", "NetworkPolicy", ("spec", "policyTypes"), "Ingress"),
        ("kuberay.yaml", "Job", ("spec", "template", "spec", "containers", 0, "command"), "preprocess flow"),
        ("cluster.yaml", "", ("provider", "worker_ips"), "10.0.0.11"),
        ("cluster.yaml", "", ("head_start_ray_commands",), "ray start --head"),
    ],
)
def test_value_of_another_type_fails(name, kind, place, value):
    (document,) = (d for d in yaml.safe_load_all((DOCKER / name).read_text()) if d.get("kind", "") == kind)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert complaints(DOCKER / name, document)
