"""Faults on demand, as a client meets them."""

import asyncio
import time

import aiohttp
import pytest

from sandbox.settings import KeySpec


async def order(api, kind, url="active", count=1, account=1000):
    answer = await api.put("faults", {"account": account, "url": url, "kind": kind, "count": count})
    assert answer.status == 200, answer.text
    return answer.json


async def ask(api, path="/v1/calls/active", **query):
    api.clock.advance(5)
    return await api.get(path, **query)


async def test_the_next_n_requests_fail_and_then_no_more(api):
    await order(api, "error500", count=2)
    assert [(await ask(api)).status for _ in range(4)] == [500, 500, 200, 200]


async def test_error500(api):
    await order(api, "error500")
    assert (await ask(api)).failure == 500


async def test_html200(api):
    await order(api, "html200")
    answer = await ask(api)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.text.startswith("<html>")


async def test_empty_list(api):
    api.pbx.place_call(1000, "400", "401", "internal", 60_000)
    await order(api, "empty_list")
    assert (await ask(api)).data == []
    assert len((await ask(api)).data) == 1


async def test_truncated(api):
    api.pbx.place_call(1000, "400", "401", "internal", 60_000)
    await order(api, "truncated")
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(api)
    assert len((await ask(api)).data) == 1


async def test_drop(api):
    await order(api, "drop", url="originate")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.originate("400", "74950001234")
    assert api.pbx.ledger.records() == []


async def test_hang_ends_after_its_bound(start):
    api = await start(hang_seconds=0.05)
    await order(api, "hang")
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(api)
    assert (await ask(api)).data == []


async def test_hang_ends_when_the_client_goes_or_the_server_stops(api):
    await order(api, "hang", count=2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(api), 0.1)
    hanging = asyncio.create_task(ask(api))
    async with asyncio.timeout(5):
        while api.server.faults.waiting():  # noqa: ASYNC110 - the fault is used up inside the server
            await asyncio.sleep(0.005)
    begun = time.monotonic()
    await api.server.__aexit__(None, None, None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await hanging
    assert time.monotonic() - begun < 5


async def test_complete_means_both_spellings_and_order_is_kept(api):
    await order(api, "empty_list", url="complete")
    await order(api, "error500", url="complete")
    await order(api, "html200", url="complete")
    statuses = [await ask(api, f"/v1/calls/{spelling}") for spelling in ("complite", "complete", "complite")]
    assert [answer.status for answer in statuses] == [200, 500, 200]
    assert statuses[2].json is None


async def test_other_accounts_and_urls_are_untouched(start):
    api = await start(keys=[KeySpec("1000_demo", "demo"), KeySpec("2000_demo", "demo")])
    await order(api, "error500")
    assert (await ask(api, key="2000_demo")).status == 200
    assert (await ask(api, "/v1/calls/complete")).status == 200
    assert (await ask(api)).status == 500


async def test_a_refused_request_uses_up_no_fault(api):
    await ask(api)
    await order(api, "error500")
    assert (await api.get("/v1/calls/active")).failure == 429
    assert (await ask(api)).status == 500


async def test_count_zero_takes_back(api):
    assert await order(api, "error500", count=3) == [{"account": 1000, "url": "active", "kind": "error500", "count": 3}]
    assert await order(api, "error500", count=0) == []
    assert (await ask(api)).status == 200


async def test_unanswered_requests_count_as_status_0(api):
    await order(api, "drop")
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(api)
    stats = await api.admin("stats")
    assert {"method": "GET", "path": "/v1/calls/active", "status": 0, "count": 1} in stats["requests"]
