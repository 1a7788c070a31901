"""A typed async client of the RingCloud API and its per-URL limiter. Knows nothing of Kafka."""
