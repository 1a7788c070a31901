"""The delivery worker: signed POSTs, retries, dead letters, on plain aiokafka."""
