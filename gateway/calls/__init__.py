"""The differ: snapshots in, events out. Pure: no clock, no I/O, no randomness of its own."""
