"""`python -m bench.scale`: what a second delivery worker adds, on a real Kafka.

Target: two workers deliver 1.7 times what one does. On two cores in all, the broker and the receiver take their share of
the same cores that the workers have, so beside the wall's time two figures are told that do not depend on it: deliveries
to a second of the workers' processor time, and what two workers deliver on the one core that one had to itself, which
would be as much if being two cost nothing.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import aiohttp
import click
import uvloop

from bench.harness import RATIO, Sample, Subject, at_least, conclude, measure
from bench.hooks import Hooks, hook_server
from bench.rig import broker, delivery_worker
from bench.servers import cores, serving
from bench.webhooks import PACKAGES, SIZE, Bench, Case

_ENDPOINTS = 100


async def _run(bench: Bench, case: Case, workers: tuple[int, ...]) -> Sample:
    """Deliveries a second of workers on these cores."""
    await bench.fill(case)
    with ExitStack() as stack:
        running = [stack.enter_context(serving(core, delivery_worker, str(case.path))) for core in workers]
        sample = await bench.watched(case, {f"worker {n}": one for n, one in enumerate(running, 1)})
    used = sum(sample.seen[f"worker {n}'s core"] for n in range(1, len(workers) + 1))
    rest = {name: sample.seen[name] for name in ("receiver's core", "broker's core")}
    return Sample(sample.value, {"a second of processor time": sample.value / used, "workers' cores": used, **rest})


async def _bench(runs: int, seconds: float, *, short: bool) -> None:
    other, core = cores()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        both = {other, core}
        kafka = await stack.enter_async_context(broker(folder, both))
        receiver = stack.enter_context(serving(other, hook_server, _ENDPOINTS))
        os.sched_setaffinity(receiver.pid, both)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        bench = Bench(folder, kafka, Hooks(receiver.url, http), receiver, seconds)
        case = await bench.case("scale", _ENDPOINTS)
        one = "one worker on a core of its own"
        figures = await measure(
            [
                Subject(name=one, run=lambda: _run(bench, case, (core,))),
                Subject(name="two workers on that one core", run=lambda: _run(bench, case, (core, core)), ceiling=one),
                Subject(
                    name="two workers, a core each",
                    run=lambda: _run(bench, case, (other, core)),
                    ceiling=one,
                    targets=(at_least(1.7, RATIO),),
                ),
            ],
            runs,
        )
    conclude(
        "scale",
        f"Webhooks delivered a second to {_ENDPOINTS} endpoints; the broker and the receiver run where there is room, on "
        "the same two cores",
        "deliveries/s",
        figures,
        short=short,
        settings={"runs": runs, "seconds": seconds, "bytes of a webhook": SIZE, "partitions": 12},
        packages=PACKAGES,
    )


@click.command()
@click.option("--short", is_flag=True, help="One run of 3 s: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure what a second worker adds, and write bench/results/scale.json."""
    uvloop.run(_bench(1 if short else 3, 3.0 if short else 8.0, short=short))


if __name__ == "__main__":
    main()
