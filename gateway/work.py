"""What a gateway works on: the accounts that are declared, their API clients, and the workers of each shard."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo

import structlog

from gateway.calls.snapshots import ANSWERED_STATUSES, Rules
from gateway.commands.accounts import Commanded
from gateway.commands.executor import Executor
from gateway.commands.replies import ReplyTopics
from gateway.commands.sealing import Opener, SealError, Vault
from gateway.config import AccountConfig, Config, ConfigError, account_of, secret
from gateway.polling import metrics
from gateway.polling.links import Links
from gateway.polling.poller import Poller
from gateway.polling.store import Memory
from gateway.ringcloud import Http, Limiter, Priority, RingCloud
from gateway.ringcloud.limits import operation_of
from gateway.runtime.clock import ClockSteps
from gateway.runtime.shards import Handles, shard_of
from gateway.runtime.tracing import NO_TRACES, Traces

_log = structlog.get_logger(__name__)


class Work:
    """Makes the workers of a shard: a poller for each of its accounts, and its commands' executor."""

    def __init__(self, config: Config, http: Http, traces: Traces = NO_TRACES) -> None:
        """Raises ConfigError for a secret that can't be read, a key of another account, a private key that is none."""
        self._config = config
        self._http = http
        self._traces = traces
        self._limiter = Limiter(observer=_Observer())
        self._configured = {account.id for account in config.accounts}
        self._accounts: dict[int, dict[int, AccountConfig]] = defaultdict(dict)
        self._apis: dict[int, Sequence[RingCloud]] = {}
        self._keys: dict[int, Sequence[str]] = {}
        self._commanded: dict[int, Commanded] = {}
        self._opener = opener(config)
        self._replies = ReplyTopics(config.kafka, config.commands.reply_topics)
        # The other half of the connections is for calls to be made.
        self._changes_at_once = asyncio.Semaphore(max(1, config.ringcloud.max_connections // 2))
        for at, account in enumerate(config.accounts):
            self._add(account, credentials(account, f"accounts[{at}]."))

    def declare(self, account: int, as_: AccountConfig | None, changed: Callable[[Iterable[int]], None]) -> None:
        """An account was declared at run time (withdrawn: None). `changed` is told of its shard if anything changes.

        The configuration file goes before the topic. Raises ConfigError as the constructor does; nothing changes then.
        """
        if account in self._configured:
            _log.warning("the account is in the configuration file, which goes before the topic", account=account)
            return
        shard = shard_of(account, self._config.kafka.shards)
        if self._accounts[shard].get(account) == as_:
            return
        if as_ is None:
            del self._accounts[shard][account], self._apis[account], self._keys[account], self._commanded[account]
        else:
            self._add(as_, credentials(as_, ""))
        _log.info("account withdrawn" if as_ is None else "account declared", account=account)
        changed([shard])

    def taken_over(self, shards: Iterable[int]) -> None:
        """Another process may have polled these shards' accounts until now: each lane rests for one interval."""
        for shard in shards:
            for account in self._accounts[shard]:
                self._assume_used(account)

    def accounts(self, shard: int) -> Mapping[int, AccountConfig]:
        """The accounts of the shard."""
        return dict(self._accounts[shard])

    def poller(self, account: int, shard: Handles, memory: Memory, links: Links) -> Poller:
        """A poller for an account of the shard."""
        calls = self._config.calls
        declared = self._accounts[shard.number][account]
        rules = Rules(
            account=account,
            answered_statuses=ANSWERED_STATUSES | set(calls.answered_statuses),
            tolerance=int(calls.match_tolerance * 1000),
            absence_grace=int(calls.absence_grace * 1000),
            max_clock_skew=int(calls.max_clock_skew * 1000),
        )
        zone, degraded_after = ZoneInfo(declared.time_zone), int(calls.degraded_after * 1000)
        return Poller(
            rules,
            self._apis[account],
            zone,
            degraded_after,
            shard,
            memory,
            links,
            # Within a session's timeout no other process owns the shard.
            asleep=self._config.kafka.session_timeout / 2,
            clock=ClockSteps(),
            channels=declared.channels,
            traces=self._traces,
        )

    def commands(self, shard: Handles) -> Executor:
        """The executor of the shard's commands."""
        return Executor(
            shard,
            self._commanded,
            self._config.kafka.shards,
            self._config.ringcloud.timeout,
            self._opener,
            self._replies,
            self._changes_at_once,
        )

    def _add(self, account: AccountConfig, pairs: Sequence[tuple[str, str]]) -> None:
        ringcloud = self._config.ringcloud
        self._keys[account.id] = [key for key, _ in pairs]
        self._apis[account.id] = [
            RingCloud(
                key,
                password,
                base_url=ringcloud.base_url,
                time_zone=account.time_zone,
                completed_path=ringcloud.completed_path,
                timeout=ringcloud.timeout,
                max_response_bytes=ringcloud.max_response_bytes,
                http=self._http,
                limiter=self._limiter,
            )
            for key, password in pairs
        ]
        vault = Vault([password for _, password in pairs])
        self._commanded[account.id] = Commanded(account, self._apis[account.id], vault)
        self._accounts[shard_of(account.id, self._config.kafka.shards)][account.id] = account
        self._assume_used(account.id)

    def _assume_used(self, account: int) -> None:
        for key in self._keys[account]:
            self._limiter.assume_used(key)


class _Observer:
    """The limiter's news as metrics. Paths become templates, so that no name is a label."""

    def granted(self, method: str, path: str, priority: Priority, waited: float) -> None:
        metrics.LIMITER_WAIT.labels(priority.name.lower()).observe(waited)

    def expired(self, method: str, path: str, priority: Priority) -> None:
        metrics.LIMITER_EXPIRED.labels(priority.name.lower()).inc()

    def rate_limited(self, method: str, path: str, backoff: float) -> None:
        operation = operation_of(method, path)
        metrics.RATE_LIMITED.labels(method, operation.template if operation else "other").inc()


def opener(config: Config) -> Opener:
    """What opens sealed passwords in commands. Raises ConfigError for a key that can't be read or is none."""
    private_key = config.commands.private_key
    try:
        return Opener(None if private_key is None else secret(private_key, "commands.private_key"))
    except SealError as error:
        raise ConfigError("", "commands.private_key", str(error)) from None


def credentials(account: AccountConfig, field: str) -> list[tuple[str, str]]:
    """The keys and passwords of an account. `field` is what stands before the names of its fields in an error.

    Raises ConfigError for one that can't be read, and for a key of another account or one that is there already: each is
    thought to have its own share of what RingCloud allows.
    """
    found: list[tuple[str, str]] = []
    for n, key in enumerate(account.keys):
        name = f"{field}keys[{n}]"
        value = secret(key.key, f"{name}.key")
        if account_of(value) != account.id:
            raise ConfigError(key.key, f"{name}.key", f"is not a key of account {account.id}")
        for earlier, (other, _) in enumerate(found):
            if other == value:
                raise ConfigError(key.key, f"{name}.key", f"is the same key as that of keys[{earlier}]")
        found.append((value, secret(key.password, f"{name}.password")))
    return found
