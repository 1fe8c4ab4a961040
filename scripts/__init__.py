"""Research and launches, run from a checkout and never installed."""
