"""The dispatcher of one device: what runs when."""
