"""Real models on one real GPU: shared by the product, in turns, and by nobody's rule, under the same load."""
