"""Regenerates docs/results.md and its pictures: `python -m tools.results`."""
