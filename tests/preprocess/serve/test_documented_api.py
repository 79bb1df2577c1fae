"""The examples of docs/serve.md, run as they stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.preprocess.serve.server_process import serving
from tests.preprocess.serve.small_root import TOKEN

DOCUMENT = Path(__file__).parents[3] / "docs" / "serve.md"
ADDRESS = "http://127.0.0.1:8765/"
# what is printed stays what is printed; the status goes beside it
CURL = "curl() { command curl --silent --show-error --write-out '%{stderr}%{http_code} %{method} %{url}\\n' \"$@\"; }\n"


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_examples_do_what_they_say(root, tmp_path):
    (block,) = re.findall(r"```bash\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "token").chmod(0o600)
    with serving(root, "--token-file", tmp_path / "token") as (_, address):
        script = "set -euo pipefail\n" + CURL + block.replace(ADDRESS, address)
        run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    answers = [line.split(" ") for line in run.stderr.splitlines()]
    assert len(answers) == len(re.findall(r"\bcurl ", block)) == 11
    for status, method, url in answers:
        # a job may have ended before it is cancelled, and still run when it is resumed or forgotten
        is_about_a_state = re.search(r"/jobs/\w+(/cancel|/resume)?$", url) and method != "GET"
        assert status in ({"201", "202", "204", "409"} if is_about_a_state else {"200", "201"}), (status, method, url)
    assert {method for _, method, _ in answers} == {"GET", "POST", "DELETE"}
