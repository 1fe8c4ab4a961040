"""The embedded world: data, shipped weights and the quickstart's recipe."""
