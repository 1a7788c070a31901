"""The gateway service: polling and commands of the shards that this process owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config import Config, ConfigError, secret
from gateway.polling.accounts import follow_accounts
from gateway.polling.ownership import Ownership
from gateway.ringcloud import Http
from gateway.ringcloud.http import read_proxy
from gateway.runtime.garbage import spare_the_collector
from gateway.runtime.kafka import ensure_topics
from gateway.runtime.metrics import serve_metrics
from gateway.work import Work, credentials


async def run_gateway(config: Config) -> None:
    """Run until cancelled; ready once shards were assigned and the accounts declared at run time are known.

    Raises ConfigError for a secret that can't be read or a key of another account, TopicError for topics that don't fit,
    MetricsError for an address that is taken.
    """
    spare_the_collector()
    check_credentials(config)
    async with serve_metrics(config.metrics.gateway) as ready:
        await ensure_topics(config.kafka)
        async with Http(max_connections=config.ringcloud.max_connections, proxy=_proxy(config)) as http:
            work = Work(config, http)
            ownership = Ownership(config.kafka, work, work.taken_over)
            known = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    follow_accounts(
                        config.kafka,
                        lambda account, as_: work.declare(account, as_, ownership.accounts_changed),
                        known.set,
                    )
                )
                # A command for an account that is not known yet would be rejected.
                await known.wait()
                tasks.create_task(_announce(ownership, ready))
                tasks.create_task(ownership.run())


async def _announce(ownership: Ownership, ready: Callable[[], None]) -> None:
    await ownership.assigned.wait()
    ready()


def check_credentials(config: Config) -> None:
    """Read every account's keys and passwords, and the proxy, once. Raises ConfigError naming the first that is wrong."""
    for at, account in enumerate(config.accounts):
        credentials(account, f"accounts[{at}].")
    _proxy(config)


def _proxy(config: Config) -> str | None:
    proxy = config.ringcloud.proxy
    url = secret(proxy, "ringcloud.proxy") if proxy.startswith(("env:", "file:")) else proxy or None
    try:
        read_proxy(url)
    except ValueError as error:
        raise ConfigError("", "ringcloud.proxy", str(error)) from None
    return url
