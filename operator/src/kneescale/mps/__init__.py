"""CUDA MPS: one control daemon for each GPU, and where the agent, the daemons and the workers meet."""
