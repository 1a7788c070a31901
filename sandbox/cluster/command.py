"""`sandbox cluster`: starts Redis, the nodes and nginx, and stops them together."""

import asyncio
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec

from sandbox.cluster.children import ClusterError
from sandbox.cluster.stage import started
from sandbox.options import arguments_of, sandbox_options, settings_of

_DEMO = {"keys": ("1000_demo",), "passwords": ("demo",)}


@click.command("cluster")
@click.option("--nodes", default=2, show_default=True, type=click.IntRange(1, 16), help="How many nodes serve.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that nginx listens on.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Of nginx; 0 takes a free one."
)
@sandbox_options
@click.pass_context
def cluster_command(context: click.Context, /, nodes: int, host: str, port: int, **given: Any) -> None:
    """Serve as the vendor does: stateless nodes that share a Redis, behind nginx with TLS.

    Without a --key there is 1000_demo with the password demo. Prints one line of JSON once all of it serves:
    {"url": "https://...", "ca": the certificate to trust, "nodes": [URLs], "redis": URL}. SIGINT and SIGTERM end it.
    """
    if not given["keys"] and not given["passwords"]:
        given |= _DEMO
    settings_of(**given)
    options = arguments_of([one for one in context.command.params if one.name in given], given)
    try:
        asyncio.run(_serve(nodes, host, port, options))
    except ClusterError as error:
        raise click.ClickException(str(error)) from None


async def _serve(nodes: int, host: str, port: int, options: list[str]) -> None:
    loop, serving = asyncio.get_running_loop(), asyncio.current_task()
    asked = False

    def stop() -> None:
        nonlocal asked
        # Once: another signal is not to break off what the first one has begun.
        if serving is not None and not asked:
            asked = True
            serving.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        with TemporaryDirectory(prefix="ringcloud-sandbox-") as run:
            async with started(Path(run), nodes, host, port, options) as cluster:
                click.echo(msgspec.json.encode(cluster.address))
                sys.stdout.flush()
                await cluster.until_one_ends()
    except asyncio.CancelledError:
        if not asked:
            raise
