"""Measurements, one script a claim. A package with this file, so that none of the same name elsewhere comes first."""
