"""The tests: unit, integration on real brokers, and what they share in support."""
