"""How another process takes the place of one that is in use.

start ── fits ── well ─┬──────────────────────────┬─ flip ── probation ── drain ── stop the old one
                       └ hold calls ── hand over ─┘              │
whatever fails before the flip: the old one answers on           └ it fails: flip back
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import CancelScope, current_time, move_on_after

from capnet.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted
from capnet.plugins.events import PluginSwapped
from capnet.plugins.instance import Instance
from capnet.plugins.life import Life
from capnet.plugins.spec import PluginSpec
from capnet.slots import Occupant

__all__ = ["PluginSwap", "swap"]

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSwap:
    """How the swap of a plugin went.

    Attributes:
        generation: of what answers now.
        state: bytes of state that were handed over.
        drained: whether all calls and streams of the old process have ended by themselves.
        seconds: from the start of the new process to the end of the old one.
    """

    generation: int
    state: int
    drained: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Flip:
    """What calls went to before, and how much state that has handed over."""

    occupant: Occupant[Any] | None
    state: int


async def swap(life: Life[C], spec: PluginSpec[C]) -> PluginSwap:
    """Start another process, and have it answer in place of the one that runs.

    Raises:
        FailedPrecondition: `not_ready`, there is nothing to be replaced; `busy`, calls do not end that must have before
            the state is handed over; `export_state_failed`, `import_state_failed`; `no_import_state`; `probation`, it
            has ended so soon that the old one is back. ResourceExhausted: `max_state`. DeadlineExceeded:
            `state_timeout`. Unavailable: `stopped` meanwhile. What `launch` raises. The old process answers on.
    """
    async with life.lock:
        if life.supervision.state != "ready":
            raise FailedPrecondition(
                f"plugin {life.spec.name} is {life.supervision.state}, there is nothing to swap", reason="not_ready"
            )
        since = current_time()
        life.supervision.swap_begins()
        life.changed()
        new: Instance[C] | None = None
        flip: _Flip | None = None
        drained = True
        try:
            with life.trying():
                new = await life.launched(spec)
                flip = await _flip(life, new)
                await _proves_itself(life, new)
        except BaseException as error:
            kept = flip is not None and life.instance is new
            life.publish(PluginSwapped, result="committed" if kept else "rolled_back", reason=str(error))
            raise
        finally:
            old, life.before = life.before, None
            life.supervision.swap_ends()
            life.changed()
            if flip is not None and old is not None and old is not life.instance:
                with CancelScope(shield=True):
                    drained = await _drained(old, flip.occupant, spec.grace)
                    await life.retire(old, "another process has taken its place", 0)
        assert flip is not None
        life.publish(PluginSwapped, generation=new.generation, result="committed", reason="")
        seconds = current_time() - since
        return PluginSwap(generation=new.generation, state=flip.state, drained=drained, seconds=seconds)


async def _flip(life: Life[C], new: Instance[C]) -> _Flip:
    """Have calls go to the new process."""
    state, held = 0, None
    old = life.instance
    try:
        with move_on_after(new.spec.start_timeout) as limit:
            if old is not None and await _hand_over(old, new):
                held = life.slot.clear("it is being swapped")
                state = await _handed_over(old, new)
        if limit.cancelled_caught:
            raise DeadlineExceeded(
                f"the state of plugin {new.spec.name} was not handed over in {new.spec.start_timeout:g} s",
                reason="state_timeout",
            )
        await life.try_no_more()  # the old one may have failed meanwhile
        if not life.supervision.running:
            life.supervision.start()
            life.supervision.is_ready(current_time())
        life.before = life.instance
        before = life.put(new)
    except BaseException:
        with CancelScope(shield=True):
            if old is not None and held is not None and life.instance is old and not old.connection.closed:
                life.put(old)
            await life.retire(new, "not wanted", 0)
        raise
    return _Flip(held or before, state)


async def _hand_over(old: Instance[C], new: Instance[C]) -> bool:
    """Whether the one has a state to give.

    Raises:
        FailedPrecondition: `no_import_state`, it would be lost.
    """
    gives, (_, takes) = (await old.control.hands_over())[0], await new.control.hands_over()
    if gives and not takes:
        raise FailedPrecondition(
            f"plugin {old.spec.name} has `export_state`, and what is to take its place has no `import_state`",
            reason="no_import_state",
            hint="PluginHost.restart starts it without its state",
        )
    return gives


async def _handed_over(old: Instance[C], new: Instance[C]) -> int:
    """Have the new process take the old one's state, while no call changes it; returns its bytes."""
    await old.idle(new.spec.grace)
    if old.calls:
        raise FailedPrecondition(
            f"{old.calls} calls of plugin {old.spec.name} do not end, so its state cannot be handed over", reason="busy"
        )
    size = 0

    async def state() -> AsyncGenerator[bytes]:
        nonlocal size
        async with aclosing(old.control.export_state()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > new.spec.max_state:
                    raise ResourceExhausted(
                        f"the state of plugin {old.spec.name} is more than {new.spec.max_state} bytes",
                        reason="max_state",
                    )
                yield chunk

    await new.control.import_state(state())
    return size


async def _proves_itself(life: Life[C], new: Instance[C]) -> None:
    with move_on_after(new.spec.probation):
        await new.over.wait()
        raise FailedPrecondition(
            f"plugin {life.spec.name} {new.outcome()} so soon that the one before it is back", reason="probation"
        )


async def _drained(old: Instance[C], occupant: Occupant[Any] | None, grace: float) -> bool:
    """Wait until nothing runs there that users have begun, for so many seconds."""
    until = current_time() + grace
    drained = occupant is None or await occupant.drained(grace)
    await old.idle(max(0.0, until - current_time()))
    return drained
