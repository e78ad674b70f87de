"""Which GPU% and batch, on which GPU: configurations, lanes, placement, and the bound on them."""
