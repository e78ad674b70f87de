"""Fakes and drivers that tests, benchmarks and demos share; nothing in an image imports them."""
