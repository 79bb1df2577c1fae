"""The quality report: what a data set of shards looks like before anybody trains on it, as one page and its JSON."""
