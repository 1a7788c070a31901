"""A state that several nodes share through Redis (extra `cluster`)."""

from sandbox.shared.replica import RedisState

__all__ = ["RedisState"]
