"""The client's chapter: its examples run, and its tables hold what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.ringcloud import Http, RingCloud, RingCloudError
from gateway.ringcloud.limits import OPERATIONS
from tests.unit.ringcloud.scripted_server import raw, reply, scripted

CHAPTER = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", CHAPTER, re.DOTALL)
CLIENT = 'RingCloud("1000_key", "password"'


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    if request.path.endswith("/records"):
        return await reply([["1.wav", "2026-03-03 12:30:00"]])(request)
    if "/records/" in request.path:
        return await raw(b"RIFF")(request)
    return await reply([])(request)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = EXAMPLES[number]
    assert CLIENT in example
    assert example.endswith("\nasyncio.run(main())\n")
    async with scripted(answer) as script:
        code = example.replace(CLIENT, f"{CLIENT}, base_url={script.url!r}").removesuffix("asyncio.run(main())\n")
        names: dict[str, Any] = {}
        exec(code, names)  # noqa: S102 - it is our own
        await names["main"]()
    if number == 0:
        assert [(asked.method, asked.path) for asked in script.asked] == [("POST", "/v1/calls")]
    if "save_record" in example:
        assert capsys.readouterr().out == "1.wav 4\n"


def test_every_url_is_in_the_table_with_its_limit() -> None:
    lines = CHAPTER.splitlines()
    for operation in OPERATIONS:
        (line,) = [line for line in lines if f"{operation.method} `{operation.template}` |" in line]
        assert f"| 1 / {operation.interval:g} s" in line


def test_every_coroutine_and_setting_is_told() -> None:
    public = [
        name
        for name, member in inspect.getmembers(RingCloud, inspect.isfunction)
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or name == "record")
    ]
    assert len(public) > 20
    for name in set(public) - {"aclose"}:
        assert f"`{name}(" in CHAPTER
    settings = [*inspect.signature(RingCloud.__init__).parameters, *inspect.signature(Http.__init__).parameters]
    for name in set(settings) - {"self", "key", "password", "wall"}:
        assert f"`{name}`" in CHAPTER


def test_the_tree_holds_every_error() -> None:
    kinds = [RingCloudError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert re.search(rf"^[ │├└─]*{kind.__name__}\b", CHAPTER, re.MULTILINE)
