"""What became of commands, in figures."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge

from gateway.contract.commands import CommandStatus

RESULTS = Counter("ringcloud_command_results", "Results of commands, each step", ["status"])
for _status in get_args(CommandStatus):
    # From nothing to one is no increase to Prometheus.
    RESULTS.labels(_status)
DEAD_LETTERS = Counter("ringcloud_command_dead_letters", "Records of the command topic that have no id to answer to")
WAITING = Gauge("ringcloud_commands_waiting", "Commands that are accepted and wait for their turn")
REPEATED = Counter("ringcloud_command_repeats", "Changes that are safe to repeat, and were")
