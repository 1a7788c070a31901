"""A receiver of webhooks to try an endpoint with: verifies, shows, forwards, and fails on demand."""
