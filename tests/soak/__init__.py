"""Long searches for what breaks the laws; no part of the test run."""
