"""What became of commands, in figures."""

from __future__ import annotations

from prometheus_client import Counter

RESULTS = Counter("ringcloud_command_results", "Results of commands, each step", ["status"])
