"""Makes docs/pictures: the terminal demo, and the dashboards' panels of a demo's real Prometheus. `make pictures`."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.commands.client import send_and_follow
from gateway.contract.commands import Originate
from gateway.dev.options import DevOptions
from gateway.dev.stage import Stage
from tests.dashboards.panels import ROOT, Panel, panels
from tests.support.prometheus import Prometheus, prometheus
from tools.pictures_panels import Series, plotted
from tools.pictures_terminal import terminal

PICTURES = ROOT / "docs" / "pictures"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
_POINTS = 48
# The demo's load goes up and down so often while it is watched, between these calls a minute.
_WAVES, _LEAST, _MOST = 1.5, 30.0, 240.0
_STEP_SECONDS = 5.0
_COMMAND_EVERY = 20.0


async def _dashboards(minutes: float) -> dict[str, str]:
    """Each dashboard as SVG, by its name: of a demo that was scraped for so long."""
    variables = {"$__rate_interval": "30s", "$__range": f"{math.ceil(minutes)}m", "$account": ".*"}
    shown: dict[str, list[Panel]] = defaultdict(list)
    for panel in panels(variables):
        shown[panel.dashboard].append(panel)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        async with Stage(DevOptions(), click.echo, lambda _: None) as stage:
            metrics = stage.config.metrics
            targets = {"gateway": metrics.gateway, "streams": metrics.streams}
            async with prometheus(Path(folder), targets, [RULES]) as server:
                began = time.time()
                await _play(stage, minutes * 60)
                return {
                    name: plotted(f"RingCloud {name}", own, await _ask(server, own, began))
                    for name, own in shown.items()
                }


async def _ask(server: Prometheus, asked: Sequence[Panel], began: float) -> dict[tuple[str, str], Sequence[Series]]:
    end = time.time()
    return {
        (panel.title, legend): await server.range(query, began, end, (end - began) / _POINTS)
        for panel in asked
        for legend, query in panel.queries
    }


async def _play(stage: Stage, seconds: float) -> None:
    """Let calls go on, more and fewer of them, and place one by a command now and then."""
    began = time.monotonic()
    commanding = asyncio.create_task(_command(stage))
    try:
        while (past := time.monotonic() - began) < seconds:
            wave = 0.5 - 0.5 * math.cos(2 * math.pi * _WAVES * past / seconds)
            await stage.place_calls(_LEAST + (_MOST - _LEAST) * wave)
            stage.check()
            await asyncio.sleep(_STEP_SECONDS)
    finally:
        commanding.cancel()
        await asyncio.gather(commanding, return_exceptions=True)


async def _command(stage: Stage) -> None:
    number = 0
    while True:
        number += 1
        command = Originate(id=f"picture-{number}", account=stage.accounts[0], user="401", num="74951234567")
        async for _ in send_and_follow(stage.config.kafka, command, timeout=60):
            pass
        await asyncio.sleep(_COMMAND_EVERY)


async def _make(minutes: float) -> None:
    pictures = {"demo": await terminal(), **await _dashboards(minutes)}
    PICTURES.mkdir(exist_ok=True)
    for name, text in pictures.items():
        path = PICTURES / f"{name}.svg"
        path.write_text(text, encoding="utf-8")
        click.echo(f"{path.relative_to(ROOT)}: {len(text.encode()):,} bytes")


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=8.0, show_default=True, help="Of the demo's calls.")
def main(minutes: float) -> None:
    """Write docs/pictures/*.svg."""
    asyncio.run(_make(minutes))


if __name__ == "__main__":
    main()
