"""A sandbox as the vendor runs it: stateless nodes with one Redis, behind nginx."""
