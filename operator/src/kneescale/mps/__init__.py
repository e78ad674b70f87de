"""MPS control daemons: one per GPU, kept alive, and what happened to them written down for the agent."""
