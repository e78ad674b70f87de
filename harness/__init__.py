"""What benchmarks, tools and tests share; nothing in an image imports it."""
