"""The pure core: no clock, no I/O, no logging, no randomness; time comes in as integer nanoseconds."""
