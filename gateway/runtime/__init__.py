"""What every service needs to run: Kafka plumbing, logs, metrics server, signals."""
