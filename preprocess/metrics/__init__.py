"""What runs do, as Prometheus counts it: from the server, or from a run by itself."""
