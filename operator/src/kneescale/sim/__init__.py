"""A discrete-event simulator of GPUs, workers and arrivals, around the core that the node agent runs."""
