"""Clips from the tar archives of a mirror: read by workers, resumed by archive, matched to the list by key."""
