"""What a run lets in from the network: nothing. What it asks others for: what it was told to."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.crash.commands import command
from tests.crash.processes import listening, running
from tests.preprocess.conftest import textured_frames, write_video

STRANGER = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20)
print("let in")
"""
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_listening_sees_a_socket():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ("0.0.0.0", server.getsockname()[1]) in listening([os.getpid()])
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listening([os.getpid()]) == {("127.0.0.1", server.getsockname()[1])}


@pytest.mark.ray
def test_local_run_listens_on_loopback_only_and_asks_for_a_token(tmp_path):
    for i in range(2):
        path = tmp_path / "clips" / "train" / "yoga" / f"clip{i}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, textured_frames(12, height=48, width=64, seed=i))
    options = ("--short-side", 48, "--out", "out", "--cpus", 1)
    at = "preprocess.extract:tvl1_codes:pause:1"
    # an address that nobody listens at: a run that used it would fail
    with command("preprocess", "flow", "clips", *options, folder=tmp_path, at=at, RAY_ADDRESS="127.0.0.1:9") as run:
        run.wait_for_pause()
        family = [*run.family(), *(process for process in running() if process.pid == run.pid)]
        found = listening([process.pid for process in family])
        assert len(found) >= 3  # Ray's processes talk to each other
        assert {host for host, _ in found} <= LOOPBACK
        dashboards = [process for process in family if "dashboard.py" in process.command]
        assert all("--disable-frontend" in process.command for process in dashboards)
        assert listening([process.pid for process in dashboards]) == set()
        asked = subprocess.run(
            [sys.executable, "-c", STRANGER, _head(family)],
            capture_output=True,
            text=True,
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32},
            check=False,
            timeout=60,
        )
        assert "let in" not in asked.stdout
        assert "AuthenticationError" in asked.stderr


def _head(family):
    """Where the cluster's head listens."""
    (gcs,) = [process.pid for process in family if "gcs_server" in process.command]
    ((_, port),) = listening([gcs])
    return f"127.0.0.1:{port}"


def test_ytdlp_runs_nothing_of_others(tmp_path):
    from preprocess.config import DownloadConfig
    from preprocess.sources.ytdlp import options_of

    config = DownloadConfig(out=tmp_path, url_template="http://127.0.0.1:9/{youtube_id}.mp4")
    options = options_of(config=config)
    run_programs = {"external_downloader", "exec_cmd", "exec_before_dl_cmd", "netrc_cmd", "postprocessors", "writelink"}
    assert run_programs.isdisjoint(options)
    assert options["allowed_extractors"] == ["generic"]
    assert not options["cachedir"]
    assert options["noplaylist"]


def test_ytdlp_loads_no_plugins(tmp_path):
    folder = tmp_path / "yt_dlp_plugins" / "postprocessor"
    folder.mkdir(parents=True)
    mark = tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    code = (
        "from preprocess.sources import ytdlp; from preprocess.config import DownloadConfig; from pathlib import Path\n"
        "config = DownloadConfig(out=Path('x'), url_template='http://127.0.0.1:9/{youtube_id}.mp4')\n"
        "ytdlp._downloader_class()(ytdlp.options_of(config=config)).close()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root, timeout=60)
    assert not mark.exists()
    # and it would, without the switch
    plain = "import yt_dlp; yt_dlp.YoutubeDL({'quiet': True}).close()"
    environment.pop("YTDLP_NO_PLUGINS", None)
    subprocess.run([sys.executable, "-c", plain], check=True, env=environment, timeout=60)
    assert mark.exists()


def test_ffmpeg_of_a_downloader_that_is_killed_ends_with_it():
    code = (
        "import os, signal\n"
        "from preprocess.sources import ytdlp; from preprocess.config import DownloadConfig; from pathlib import Path\n"
        "config = DownloadConfig(out=Path('x'), url_template='http://127.0.0.1:9/{youtube_id}.mp4')\n"
        "ytdlp.options_of(config=config)\n"
        "from yt_dlp.downloader import external\n"
        "print(external.Popen(['sleep', '600']).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, cwd=root, timeout=60)
    child = int(killed.stdout)
    deadline = time.monotonic() + 10
    while [process for process in running() if process.pid == child] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [process for process in running() if process.pid == child]
