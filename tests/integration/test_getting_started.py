"""docs/getting-started.md, "Take it apart": each of its programs is started as the page says, and events come out."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.dev.brokers import Child, EmbeddedBroker, free_port
from tests.support.waiting import eventually

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Take it apart") : PAGE.index("## With the real RingCloud")]


class Line(NamedTuple):
    """A command of the page, and what its block has exported until then."""

    words: list[str]
    env: dict[str, str]


def blocks(language: str, ports: dict[str, int]) -> list[str]:
    """The section's blocks in a language, with ports that are free here for those of the page."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    return [re.sub(r"\b(8080|8081|9092)\b", lambda port: str(ports[port[0]]), text) for text in found]


def commands(ports: dict[str, int]) -> Iterator[Line]:
    """The page's commands, in order. AssertionError for one that is none of ours."""
    for block in blocks("sh", ports):
        env: dict[str, str] = {}
        for line in block.splitlines():
            program, *words = shlex.split(line)
            if program == "export":
                env |= dict(one.split("=", 1) for one in words)
            else:
                assert program == "ringcloud-gateway", line
                yield Line(words, dict(env))


@pytest.mark.timeout(300)
async def test_what_the_page_starts_works_together(tmp_path: Path) -> None:
    # The page's topics have the names that they have by default, which no other test's are to have.
    broker = EmbeddedBroker(tmp_path / "broker")
    ports = {"8080": free_port(), "8081": free_port(), "9092": int(broker.bootstrap.rpartition(":")[2])}
    (toml,) = blocks("toml", ports)
    # The one thing that the page leaves to its default and that only one process of a machine can have.
    listen = "".join(f'{name} = "127.0.0.1:{free_port()}"\n' for name in ("gateway", "streams"))
    config = tmp_path / "gateway.toml"
    config.write_text(f"{toml}\n[metrics]\n{listen}", encoding="utf-8")
    (program,) = blocks("python", ports)
    (tmp_path / "reader.py").write_text(program, encoding="utf-8")
    running: dict[str, Child] = {}
    async with broker, AsyncExitStack() as stack:
        for command in commands(ports):
            name, *_ = command.words
            words = [str(config) if word == "gateway.toml" else word for word in command.words]
            child = Child(name, [sys.executable, "-m", "gateway.cli", *words], tmp_path / f"{name}.log", command.env)
            await stack.enter_async_context(child)
            if name in ("check", "topics"):
                assert await child.wait(90.0) == 0, child.tail()
            else:
                running[name] = child
        assert list(running) == ["sandbox", "listen", "poll", "streams"]
        running["reader"] = Child(
            "the reader", [sys.executable, "-u", str(tmp_path / "reader.py")], tmp_path / "reader.log"
        )

        def seen() -> bool:
            """a call's start and end were read from Kafka, and came to the receiver"""
            for child in running.values():
                assert child.running, child.failure("ended by itself")
            texts = [(tmp_path / f"{name}.log").read_text(encoding="utf-8") for name in ("reader", "listen")]
            return all("started" in text and "ended" in text for text in texts)

        await stack.enter_async_context(running["reader"])
        await eventually(seen, 200.0)
        assert "verifying nothing" not in (tmp_path / "listen.log").read_text(encoding="utf-8")
