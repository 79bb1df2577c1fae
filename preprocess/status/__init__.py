"""How far a run is: published by the run, shown by `preprocess status`."""
