"""The roots and points of jobs, for pages too, and a browser."""

from tests.preprocess.jobs.conftest import made_root, pause_at, root
from tests.preprocess.serve.browser import browser, open_tab

__all__ = ["browser", "made_root", "open_tab", "pause_at", "root"]
