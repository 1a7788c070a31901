"""What others depend on: events, commands, endpoints, topics."""
