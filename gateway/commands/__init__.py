"""Executes the command topic through the same limiter as the polls."""
