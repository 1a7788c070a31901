"""Benchmarks: one command a claim, each with the machine's ceiling measured in the same run."""
