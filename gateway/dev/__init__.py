"""`ringcloud-gateway dev`: every part at once on one machine."""
