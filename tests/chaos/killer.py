"""Carries the plan out: hits processes and the broker, lets them come back, and keeps a log of every step."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.chaos.ground import Ground, Service
from tests.chaos.plan import HABITS, Blow, Bout, Victim

# What a gateway or the streams may take to end by SIGTERM, brokers away or not.
TERM_SECONDS = 30.0


class Killer:
    """Hits what a plan names. Each victim takes its blows one after the other, however late; victims don't wait for each other."""

    def __init__(self, ground: Ground, log: Path) -> None:
        """Take what runs, and where each step is written with its time in seconds since the start."""
        self._ground = ground
        self._log = log.open("w", buffering=1)
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()
        self.disobeyed: list[str] = []

    async def run(self, blows: list[Blow], bouts: list[Bout]) -> None:
        """Carry out the plan; returns when everything is back and the API has no faults."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for victim in HABITS:
                tasks.create_task(self._hit([blow for blow in blows if blow.victim == victim], victim))
            tasks.create_task(self._fault(bouts))

    def note(self, what: str) -> None:
        """Write a line to the log of steps."""
        self._log.write(f"{time.time():.3f} {time.monotonic() - self._began:8.3f} {what}\n")

    def close(self) -> None:
        """No more is written."""
        self._log.close()

    async def _hit(self, blows: list[Blow], victim: Victim) -> None:
        for blow in blows:
            await self._until(blow.at)
            if victim == "broker":
                await self._broker(blow)
                continue
            names = ("gateway-1", "gateway-2") if blow.kind == "both" else (victim,)
            async with AsyncExitStack() as held:
                for name in names:
                    await held.enter_async_context(self._ground.services[name].busy)
                await asyncio.gather(*(self._service(self._ground.services[name], blow) for name in names))

    async def _service(self, service: Service, blow: Blow) -> None:
        what = f"{service.name} {blow.kind}"
        if blow.kind == "stop":
            await self._sleep(service, blow.seconds)
            return
        self.note(f"{what}, down for {blow.seconds:.1f} s")
        # It may have ended by itself: then there is nothing to hit, and nothing to count.
        hit = int(service.pid is not None)
        if blow.kind == "term":
            if not await service.stop(TERM_SECONDS) and hit:
                self.disobeyed.append(f"{service.name} did not end in order by SIGTERM within {TERM_SECONDS:.0f} s")
                self.note(self.disobeyed[-1])
            self.done[f"{service.name} SIGTERM"] += hit
        else:
            await service.kill()
            self.done[f"{service.name} SIGKILL"] += hit
        await asyncio.sleep(blow.seconds)
        self.note(f"{service.name} starts")
        service.start()

    async def _sleep(self, service: Service, seconds: float) -> None:
        pid = service.pid
        if pid is None:
            self.note(f"{service.name} can't be stopped: it does not run")
            return
        self.note(f"{service.name} SIGSTOP for {seconds:.1f} s")
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.note(f"{service.name} SIGCONT")
        self.done[f"{service.name} SIGSTOP"] += 1

    async def _broker(self, blow: Blow) -> None:
        broker = self._ground.broker
        self.note(f"broker {blow.kind}, down for {blow.seconds:.1f} s")
        await (broker.kill() if blow.kind == "kill" else broker.stop())
        self.done[f"broker {'SIGKILL' if blow.kind == 'kill' else 'SIGTERM'}"] += 1
        await asyncio.sleep(blow.seconds)
        await broker.start()
        self.note("broker answers")

    async def _fault(self, bouts: list[Bout]) -> None:
        for bout in bouts:
            await self._until(bout.at)
            told = ", ".join(f"{rule.account} {rule.kind} {rule.probability:g}" for rule in bout.rules)
            self.note(f"API for {bout.rules[0].for_seconds:.1f} s: {told}")
            await self._ground.ask("PUT", "fault-rules", bout.rules)
            self.done["API faults"] += len(bout.rules)
        await self._ground.ask("PUT", "fault-rules", [])

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._began + at - time.monotonic()))
