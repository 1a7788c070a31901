"""The gateway service: polling and commands of the shards that this process owns."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from zoneinfo import ZoneInfo

from gateway.calls.snapshots import ANSWERED_STATUSES, Rules
from gateway.commands.executor import Executor
from gateway.config import AccountConfig, Config, ConfigError, account_of, secret
from gateway.polling import metrics
from gateway.polling.ownership import Ownership
from gateway.polling.poller import Poller
from gateway.ringcloud import Http, Limiter, Priority, RingCloud
from gateway.ringcloud.limits import operation_of
from gateway.runtime.kafka import ensure_topics
from gateway.runtime.metrics import serve_metrics
from gateway.runtime.shards import Handles, shard_of


async def run_gateway(config: Config) -> None:
    """Run until cancelled; ready once shards were assigned.

    Raises ConfigError for a secret that can't be read or a key of another account, TopicError for topics that don't fit,
    MetricsError for an address that is taken.
    """
    credentials = {account.id: _credentials(at, account) for at, account in enumerate(config.accounts)}
    async with serve_metrics(config.metrics.gateway) as ready:
        await ensure_topics(config.kafka)
        async with Http(max_connections=config.ringcloud.max_connections) as http:
            work = _Work(config, credentials, http)
            ownership = Ownership(config.kafka, work, work.accounts.keys(), work.taken_over)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_announce(ownership, ready))
                tasks.create_task(ownership.run())


async def _announce(ownership: Ownership, ready: Callable[[], None]) -> None:
    await ownership.assigned.wait()
    ready()


class _Work:
    """Makes the workers of a shard: a poller for each of its accounts, and its commands' executor."""

    def __init__(self, config: Config, credentials: dict[int, list[tuple[str, str]]], http: Http) -> None:
        self._config = config
        self._limiter = Limiter(observer=_Observer())
        self._keys = {account: [key for key, _ in pairs] for account, pairs in credentials.items()}
        self._zones = {account.id: account.time_zone for account in config.accounts}
        ringcloud = config.ringcloud
        self._apis: dict[int, Sequence[RingCloud]] = {
            account: [
                RingCloud(
                    key,
                    password,
                    base_url=ringcloud.base_url,
                    time_zone=self._zones[account],
                    completed_path=ringcloud.completed_path,
                    timeout=ringcloud.timeout,
                    max_response_bytes=ringcloud.max_response_bytes,
                    http=http,
                    limiter=self._limiter,
                )
                for key, password in pairs
            ]
            for account, pairs in credentials.items()
        }
        self.accounts: dict[int, list[int]] = defaultdict(list)
        for account in sorted(credentials):
            self.accounts[shard_of(account, config.kafka.shards)].append(account)

    def taken_over(self, shards: Iterable[int]) -> None:
        """Another process may have polled these shards' accounts until now: each lane rests for one interval."""
        for shard in shards:
            for account in self.accounts.get(shard, ()):
                for key in self._keys[account]:
                    self._limiter.assume_used(key)

    def pollers(self, shard: Handles) -> list[Poller]:
        """A poller for each account of the shard."""
        return [
            Poller(
                self._rules(account),
                self._apis[account],
                ZoneInfo(self._zones[account]),
                shard,
            )
            for account in self.accounts.get(shard.number, ())
        ]

    def commands(self, shard: Handles) -> Executor:
        """The executor of the shard's commands."""
        return Executor(shard, self._apis, self._config.kafka.shards)

    def _rules(self, account: int) -> Rules:
        calls = self._config.calls
        return Rules(
            account=account,
            answered_statuses=ANSWERED_STATUSES | set(calls.answered_statuses),
            tolerance=int(calls.match_tolerance * 1000),
            absence_grace=int(calls.absence_grace * 1000),
            max_clock_skew=int(calls.max_clock_skew * 1000),
        )


class _Observer:
    """The limiter's news as metrics. Paths become templates, so that no name is a label."""

    def granted(self, method: str, path: str, priority: Priority, waited: float) -> None:
        metrics.LIMITER_WAIT.labels(priority.name.lower()).observe(waited)

    def expired(self, method: str, path: str, priority: Priority) -> None:
        metrics.LIMITER_EXPIRED.labels(priority.name.lower()).inc()

    def rate_limited(self, method: str, path: str, backoff: float) -> None:
        operation = operation_of(method, path)
        metrics.RATE_LIMITED.labels(method, operation.template if operation else "other").inc()


def _credentials(at: int, account: AccountConfig) -> list[tuple[str, str]]:
    found = []
    for n, key in enumerate(account.keys):
        field = f"accounts[{at}].keys[{n}]"
        value = secret(key.key, f"{field}.key")
        if account_of(value) != account.id:
            raise ConfigError(key.key, f"{field}.key", f"is not a key of account {account.id}")
        found.append((value, secret(key.password, f"{field}.password")))
    return found


def check_credentials(config: Config) -> None:
    """Read every account's keys and passwords once. Raises ConfigError naming the first that is wrong."""
    for at, account in enumerate(config.accounts):
        _credentials(at, account)
