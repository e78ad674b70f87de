"""Faults at random under load for half an hour, and an account of every request: `make chaos`."""
