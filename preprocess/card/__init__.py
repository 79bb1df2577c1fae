"""The data set card: which clips somebody's Kinetics holds, what is missing and why, in hashes, counts and a page."""
