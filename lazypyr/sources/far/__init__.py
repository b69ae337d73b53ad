"""Sources that are far: stored bytes are fetched on one event loop, many at a time, each once, and read ahead of the work."""
