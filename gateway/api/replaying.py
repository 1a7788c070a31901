"""The operations on replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.api.operations import Asked, Nothing, Operation, Reply
from gateway.api.problems import Problem
from gateway.api.replays import Replays
from gateway.api.shapes import PageQuery, ReplayAsked, ReplayPage, ReplayView


class ReplayOperations:
    """Begins, shows and cancels replays."""

    def __init__(self, replays: Replays) -> None:
        """Take the jobs."""
        self._replays = replays

    def operations(self) -> Sequence[Operation[Any, Any]]:
        """All of them."""
        return [
            Operation(
                "POST",
                "/v1/replays",
                "create_replay",
                "Deliver again: one delivery, an endpoint's dead letters, or events from a time or offsets on",
                "replay",
                self._create,
                ReplayAsked,  # type: ignore[arg-type] # a union, which is no class
                Nothing,
                ReplayView,
                status=202,
                problems=(404, 409, 422),
            ),
            Operation(
                "GET",
                "/v1/replays",
                "list_replays",
                "The replays since the API was started, newest first",
                "read",
                self._list,
                Nothing,
                PageQuery,
                ReplayPage,
            ),
            Operation(
                "GET",
                "/v1/replays/{id}",
                "get_replay",
                "A replay, and how far it is",
                "read",
                self._get,
                Nothing,
                Nothing,
                ReplayView,
            ),
            Operation(
                "DELETE",
                "/v1/replays/{id}",
                "cancel_replay",
                "Cancel a replay, if it has not ended: what was resent stays so",
                "replay",
                self._cancel,
                Nothing,
                Nothing,
                ReplayView,
            ),
        ]

    async def _create(self, asked: Asked[Any, Nothing]) -> Reply:
        job = await self._replays.begin(asked.body, asked.by.name)
        return Reply(job.view(), location=f"/v1/replays/{job.id}")

    async def _list(self, asked: Asked[Nothing, PageQuery]) -> Reply:
        jobs = self._replays.all()
        if asked.query.cursor is not None:
            ids = [job.id for job in jobs]
            if asked.query.cursor not in ids:
                raise Problem(422, "is none that was given as next, or is forgotten", "cursor")
            jobs = jobs[ids.index(asked.query.cursor) + 1 :]
        page = jobs[: asked.query.limit]
        return Reply(
            ReplayPage(items=[job.view() for job in page], next=page[-1].id if len(jobs) > len(page) else None)
        )

    async def _get(self, asked: Asked[Nothing, Nothing]) -> Reply:
        return Reply(self._replays.get(asked.path["id"]).view())

    async def _cancel(self, asked: Asked[Nothing, Nothing]) -> Reply:
        job = self._replays.get(asked.path["id"])
        await self._replays.cancel(job)
        return Reply(job.view())
