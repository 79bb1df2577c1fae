"""The architecture, executed: who may import whom, and what no file may hold."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("preprocess", "pipelines", "i3d_train")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

SHARED = {
    f"preprocess.{name}"
    for name in (
        "errors",
        "exact_number",
        "paths",
        "console",
        "labels",
        "ray_session",
        "nodes",
        "address",
        "object_store",
        "flow_color",
        "cores",
        "typed_json",
    )
}
MAY_IMPORT = {
    "preprocess": {"preprocess"},
    "pipelines": {"pipelines", "preprocess.shards"} | SHARED,
    "i3d_train": {"i3d_train", "pipelines", "preprocess.shards"} | SHARED,
    # a raw video must be opened by the one module that opens untrusted video, in a process that may crash
    "i3d_train.predict": {"preprocess.media", "preprocess.media_process", "preprocess.flow"},
    "preprocess.shards": {"preprocess.shards", "preprocess.errors", "preprocess.paths"},
}
ONLY_IN = {
    "ray": {"preprocess.ray_session", "i3d_train.cluster", "i3d_train.ray_fit"},
    "fsspec": {"preprocess.object_store", "pipelines.remote"},
    "nvidia": {"pipelines.dali_graph"},
    "urllib3": {"preprocess.sources.http"},
    "yt_dlp": {"preprocess.sources.ytdlp", "preprocess.sources.mortal_child"},
    "av": {"preprocess.media", "preprocess.trim", "preprocess.sample"},
    "cupy": {"preprocess.gpus", "preprocess.flow"},
    "h5py": {"preprocess.shards", "i3d_train.feature_file"},
    "prometheus_client": {"preprocess.metrics"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.lineno, node.module or ""))
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names if node.module in PACKAGES]
    return found


def test_there_are_files_to_look_at():
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_import_edges(path):
    module = module_of(path)
    allowed = set().union(*(edges for package, edges in MAY_IMPORT.items() if within(module, package)))
    if within(module, "preprocess.shards"):
        allowed = MAY_IMPORT["preprocess.shards"]
    for line, name in imports_of(path):
        if name.split(".")[0] in PACKAGES and name not in PACKAGES:
            assert any(within(name, package) for package in allowed), f"{path}:{line}: import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_dependency_has_its_place(path):
    module = module_of(path)
    for line, name in imports_of(path):
        places = ONLY_IN.get(name.split(".")[0])
        assert places is None or any(within(module, place) for place in places), f"{path}:{line}: import {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "preprocess" / "shards").glob("*.py")), ids=lambda path: path.name)
def test_shards_need_numpy_and_h5py_only(path):
    import sys

    for line, name in imports_of(path):
        top = name.split(".")[0]
        assert top in {"numpy", "h5py", "preprocess"} or top in sys.stdlib_module_names, f"{path}:{line}: import {name}"


@pytest.mark.parametrize("path", FILES + TESTS + BENCHMARKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_ascii(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert text.isascii(), f"{path}: {next(c for c in text if not c.isascii())!r}"


@pytest.mark.parametrize("path", FILES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_hold_no_half_of_a_character(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            (ast.get_docstring(node) or "").encode()  # which Python 3.13 does before it imports the module


def test_no_grab_bags():
    assert not [path for path in FILES if path.stem in {"utils", "util", "helpers", "misc", "common"}]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_code_is_installed(package):
    listed = (ROOT / "setup.cfg").read_text()
    for path in {file.parent for file in FILES if file.is_relative_to(ROOT / package)}:
        assert f"\n    {'.'.join(path.relative_to(ROOT).parts)}\n" in listed, f"{path} is not in setup.cfg"
    assert "\n    tests" not in listed
