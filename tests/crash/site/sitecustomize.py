"""Found by every Python that has this folder on its PYTHONPATH, Ray's workers too: wraps what CRASH_WRAP names."""

import importlib.util
import os
from pathlib import Path

# by its path: the tests' package is not to be imported everywhere
_spec = importlib.util.spec_from_file_location("kill_points", Path(__file__).parents[1] / "kill_points.py")
assert _spec is not None
assert _spec.loader is not None
_kill_points = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_kill_points)
_kill_points.install(os.environ["CRASH_WRAP"].split())
