"""The operator's settings, read from the environment once, at start-up."""
