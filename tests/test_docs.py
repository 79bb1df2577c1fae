"""The documents, held against the code."""

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import yaml

from i3d_train.cli import main as i3d_train
from preprocess.cli import main as preprocess
from preprocess.serve.render import NAVIGATION

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURES = ROOT / "docs" / "pages"
PICTURE_BYTES = 300_000
PROGRAMS = {"preprocess": preprocess, "i3d_train": i3d_train}
COMMANDS = [(name, command) for name, program in PROGRAMS.items() for command in program.commands]


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_every_command_is_in_the_readme(program, command):
    assert f"{program} {command}" in README


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_every_command_and_option_has_help(program, command):
    found = PROGRAMS[program].commands[command]
    assert found.help
    assert "Example" in found.help
    assert [option.name for option in found.params if isinstance(option, click.Option) and not option.help] == []


def code_blocks(text):
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("document", "least"), [(ROOT / "README.md", 5), (ROOT / "docs" / "serve.md", 2)], ids=str)
def test_options_that_a_document_uses_exist(document, least):
    known = {f"{program} {command}": PROGRAMS[program].commands[command] for program, command in COMMANDS}
    used = 0
    for block in code_blocks(document.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.match(r"\$?\s*((?:preprocess|i3d_train) \w+)(.*)", line)
            if match is None:
                continue
            options = {
                name for parameter in known[match[1]].params for name in (*parameter.opts, *parameter.secondary_opts)
            }
            wanted = set(re.findall(r"(?<=\s)--[a-z-]+", match[2].split("#")[0]))
            assert wanted <= options, f"{line}: {wanted - options}"
            used += 1
    assert used >= least


def links(document):
    """What a document of ours links to, or shows, here."""
    found = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    return [(document.parent / target).resolve() for target in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_of_a_document_are_there(document):
    for target in links(document):
        assert target.exists(), target


def test_every_page_of_the_server_has_its_picture():
    shown = set(links(ROOT / "docs" / "serve.md"))
    for page in (*(name.lower() for _, name in NAVIGATION), "clip", "job"):
        assert PICTURES / f"{page}.png" in shown, page
    assert {path for path in PICTURES.iterdir() if path.stat().st_size < PICTURE_BYTES} == {
        path for path in shown if path.parent == PICTURES
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_of_a_document_exist(document):
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make (\w+)|^ *make (\w+)", document.read_text(encoding="utf-8"), re.MULTILINE)):
        assert f"\n{''.join(target)}:" in makefile, target


def test_changelog_has_this_version():
    assert f"\n## {version('kineflow')}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned():
    setup = (ROOT / "setup.cfg").read_text()
    wanted = {name.lower() for name in re.findall(r"^    ([A-Za-z][\w-]+)(?:\[\w+\])?>=", setup, re.MULTILINE)}
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert len(wanted) > 10
    assert wanted <= pinned, wanted - pinned


def test_image_and_cluster_agree():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    cluster = yaml.safe_load((ROOT / "docker" / "cluster.yaml").read_text())
    assert f"-t {cluster['docker']['image']} ." in dockerfile
    home = re.search(r"useradd --create-home --uid \d+ (\w+)", dockerfile)
    assert home is not None
    assert f"/home/{home[1]}/.ray/auth_token" in cluster["file_mounts"]
    assert dockerfile.rindex("\nUSER ") < dockerfile.rindex("\nCMD")


def test_image_copies_what_the_package_is_built_from():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY ([^-].*) \S+$", dockerfile, re.MULTILINE)[0].split())
    assert {"setup.cfg", "setup.py", "pyproject.toml", "constraints.txt"} <= copied
    for package in ("preprocess", "pipelines", "i3d_train"):
        assert f"COPY {package} {package}" in dockerfile


def test_cluster_asks_for_the_token_everywhere():
    cluster = yaml.safe_load((ROOT / "docker" / "cluster.yaml").read_text())
    starts = [c for key in ("head", "worker") for c in cluster[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token ") for command in starts)


def test_demo_deletes_no_folder_of_others_and_ends_with_its_server(tmp_path):
    kept = tmp_path / "data" / "clips"
    kept.mkdir(parents=True)
    for name, status in (("preprocess", 0), ("python", 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} here\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for folder, said in ((kept.parent, "File exists"), (tmp_path / "new", "python here")):
        command = [ROOT / "demo.sh", folder]
        ended = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=20, check=False)
        assert ended.returncode == 1
        assert said in ended.stderr
    assert kept.exists()
