"""Pages, a JSON API and metrics over a folder of runs: `preprocess serve ROOT`."""
