"""How much to provide for: arrivals, what they need of a GPU, and when that is to change."""
