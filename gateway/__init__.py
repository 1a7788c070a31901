"""RingCloud gateway: a polled PBX turned into events, webhooks and metrics."""
