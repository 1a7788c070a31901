"""Schedule, shards and their ownership, group commit of events and state."""
