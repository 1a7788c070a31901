"""A sandbox on a free port with a virtual clock, and a client that signs its requests."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from sandbox.clock import VirtualClock
from sandbox.pbx import Pbx
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

KEY, PASSWORD = "1000_demo", "demo"


def md5(text: str) -> str:
    """Lower-case hex, as the API wants it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Answer(msgspec.Struct):
    """A whole HTTP answer; `json` is None when the body is none."""

    status: int
    json: Any
    headers: dict[str, str]
    text: str

    @property
    def data(self) -> Any:
        """The envelope's data, after checking that it is the envelope of a success."""
        assert self.status == 200, self.text
        assert set(self.json) == {"status", "message", "data"}
        assert (self.json["status"], self.json["message"]) == ("success", None)
        return self.json["data"]

    @property
    def failure(self) -> int:
        """The status, after checking that the body is the envelope of a failure."""
        assert set(self.json) == {"status", "message", "data"}
        assert (self.json["status"], self.json["data"]) == ("error", None)
        assert isinstance(self.json["message"], str)
        return self.status


class Api:
    """Signed requests to one sandbox whose time is `clock`."""

    def __init__(self, server: SandboxServer, clock: VirtualClock, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.clock = clock
        self.session = session

    @property
    def pbx(self) -> Pbx:
        return self.server.pbx

    async def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = KEY,
        password: str = PASSWORD,
        sign: str | None = None,
        body: Any = None,
        raw: Any = None,
        **query: Any,
    ) -> Answer:
        if key is not None:
            query["api_key"] = key
            query["hash"] = md5(f"{key}{password}") if sign is None else sign
        url = URL(f"{self.server.url}{path}", encoded=True).with_query({name: str(v) for name, v in query.items()})
        data = raw if body is None else msgspec.json.encode(body)
        async with self.session.request(method, url, data=data) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return Answer(response.status, msgspec.json.decode(text) if is_json else None, dict(response.headers), text)

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.request("GET", path, **query)

    async def originate(self, user: Any, num: Any, **query: Any) -> Answer:
        return await self.request("POST", "/v1/calls", body={"params": {"user": user, "num": num}}, **query)

    async def change(self, path: str, _query: dict[str, Any] | None = None, **params: Any) -> Answer:
        """POST with these params."""
        return await self.request("POST", path, body={"params": params}, **(_query or {}))

    async def file(self, path: str, *, password: str = PASSWORD) -> tuple[int, str, bytes]:
        """Status, content type and bytes of a GET."""
        query = {"api_key": KEY, "hash": md5(f"{KEY}{password}")}
        async with self.session.get(URL(f"{self.server.url}{path}", encoded=True).with_query(query)) as response:
            return response.status, response.content_type, await response.read()

    async def admin(self, path: str, **query: Any) -> Any:
        answer = await self.request("GET", f"/_sandbox/{path}", key=None, **query)
        assert answer.status == 200, answer.text
        return answer.json

    async def put(self, path: str, body: Any) -> Answer:
        return await self.request("PUT", f"/_sandbox/{path}", key=None, body=body)


Start = Callable[..., Coroutine[Any, Any, Api]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a sandbox with given settings; as many as a test likes."""
    async with AsyncExitStack() as stack:

        async def start_one(*, keys: list[KeySpec] | None = None, **settings: Any) -> Api:
            clock = VirtualClock()
            all_settings = SandboxSettings(keys or [KeySpec(KEY, PASSWORD)], **settings)
            server = await stack.enter_async_context(SandboxServer(all_settings, clock=clock))
            session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
            # aiohttp repeats a GET by itself when the connection breaks, which would hide what the sandbox did.
            session._retry_connection = False
            await stack.enter_async_context(session)
            return Api(server, clock, session)

        yield start_one


@pytest.fixture
async def api(start: Start) -> Api:
    """A sandbox with one key and no traffic of its own."""
    return await start()
