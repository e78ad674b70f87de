"""The whole mission, from nothing to a report: a cluster, models, a minute of load, what came of it."""
