"""Published ways to share a GPU, which the product is measured against: one file each."""
