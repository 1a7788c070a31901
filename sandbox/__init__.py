"""A RingCloud of our own: the documented API over a simulated PBX. Imports nothing of the gateway."""
