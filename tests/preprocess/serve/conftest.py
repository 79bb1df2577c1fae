"""The roots and points of jobs, for pages too."""

from tests.preprocess.jobs.conftest import made_root, pause_at, root

__all__ = ["made_root", "pause_at", "root"]
