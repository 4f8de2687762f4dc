"""Tasks that end with a block."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup

__all__ = ["tasks_of_block"]


@asynccontextmanager
async def tasks_of_block() -> AsyncGenerator[TaskGroup]:
    """A group of tasks that are cancelled at the end of the block. A lone error is raised as it is, in no group."""
    try:
        async with create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        first, *others = group.exceptions
        if others:
            raise
        raise first from None
