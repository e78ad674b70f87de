"""The keys of a worker's termination message: a JSON object that the operator reads in its pod's status."""

#: Why the worker ended, in one line.
ERROR = "error"
#: A surface, as [GPU%, batch, latency in us] of each run: those that were measured, or predicted...
POINTS = "points"
#: ...and the rest of the grid, as the measured ones tell it.
FITTED = "fitted"
#: As a ModelProfile has them.
EXPECTED_ERROR_PERCENT = "expectedErrorPercent"
PREDICTION_ERROR_PERCENT = "predictionErrorPercent"
