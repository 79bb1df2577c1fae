# Two commands on a fresh machine: `make demo` shows the whole path, `make test` checks everything.
PYTHON ?= python3
VENV ?= .venv
# Which CUDA generation DALI and CuPy are installed for: cuda13 or cuda12. Both also work without a GPU.
CUDA ?= cuda13
# Processes that run tests side by side; the tests of a file stay in one.
TESTERS ?= 2

INSTALLED := $(VENV)/installed-$(CUDA)

.PHONY: test lint pytest demo screenshots gpu clean

test: lint pytest

lint: $(INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

pytest: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n $(TESTERS) --dist loadfile

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" ./demo.sh

# What needs a GPU: its tests, which fail without one, and what measures there (under 8 minutes each).
gpu: $(INSTALLED)
	FAIL_WITHOUT_CUDA=1 $(VENV)/bin/python -m pytest -m gpu
	$(VENV)/bin/python benchmarks/flow_gpu.py
	$(VENV)/bin/python benchmarks/feed_gpu.py
	$(VENV)/bin/python benchmarks/train_gpu.py

# The pictures of docs/serve.md, by Debian's Chromium.
screenshots: $(INSTALLED)
	SCREENSHOTS=docs/pages FAIL_WITHOUT_CHROMIUM=1 $(VENV)/bin/python -m pytest tests/preprocess/serve/test_screenshots.py

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,$(CUDA)]'
	touch $@

clean:
	rm -rf $(VENV) build demo *.egg-info
