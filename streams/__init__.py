"""The Faust app: expands call events into deliveries and counts them."""
