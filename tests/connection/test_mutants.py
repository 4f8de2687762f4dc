"""Planted faults above the engine: each breaks one promise of a connection, and the scenario that holds it must fail.

The faults of the engine itself are in `tests/property/pair/mutants.py` and `tests/hostile/faults.py`; the machines
there do not know what a connection, a host and a membrane add: lineage, policies, guards, swaps.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from inspect import isawaitable
from typing import Any

import anyio
import pytest
from anyio import move_on_after

from capnet import PermissionDenied, pipe
from capnet.attenuation import crossing, gate, membrane, restriction
from capnet.connection import follower
from capnet.contract.position import Position
from capnet.dispatch.runner import Runner
from capnet.engine.answers import Answer
from capnet.engine.exports import Export
from capnet.policy import guard as guarding
from capnet.policy import policy
from capnet.policy.guard import Guard
from capnet.references import revoke
from capnet.registry import Hosted, Registry, Replacement
from capnet.revocation import lineage
from capnet.revocation.lineage import Granted, Opened
from capnet.serving import names, swap
from capnet.testing import connected
from tests.attenuation import test_membrane, test_restrict
from tests.connection import test_cancel, test_guard, test_lifetime, test_lineage, test_policy
from tests.connection.doors import Door, House
from tests.faults.injection import Virtual
from tests.host import test_swap

Patch = Callable[[pytest.MonkeyPatch], None]
Scenario = Callable[[], Awaitable[object]]
PATIENCE = 3.0
"""Seconds of a virtual clock after which what a fault has held up counts as lost."""


@pytest.fixture
def nothing_left() -> None:
    """In place of the one of this folder: what fails in the middle leaves things behind."""


@pytest.fixture
def every_start_has_its_end() -> None:
    """The same."""


async def pipelined_calls_are_guarded() -> None:
    """P-CAP-7 and P-CALL-8: a call on what is not there yet is looked at like any other, once it is."""
    made = House()
    guard = test_guard.Guard(lambda call: call.method != "name")
    async with connected(made.root, policy=guard) as (_, client):
        door = pipe((await client.bootstrap(Door)).open("child"))
        with pytest.raises(PermissionDenied):
            await door.name()
        assert [call.method for call in guard.asked] == ["open", "name"]


async def test_pipelined_calls_are_guarded() -> None:
    await pipelined_calls_are_guarded()


# --- lineage ---


def revocation_is_not_transitive(patch: pytest.MonkeyPatch) -> None:
    """What came of a capability outlives it."""

    def with_descendants(roots: Iterable[Granted]) -> list[Granted | Opened]:
        return [root for root in roots if root.fallen is None]

    for module in (lineage, follower, revoke, gate):
        patch.setattr(module, "with_descendants", with_descendants)


def revocation_stays_on_one_connection(patch: pytest.MonkeyPatch) -> None:
    """What a handler gave to another peer outlives what it was called on."""

    def came_of(self: Granted, parent: Granted | None) -> None:
        other = parent is not None and parent.session_ref() is not self.session_ref()
        original(self, None if other else parent)

    original = Granted.came_of
    patch.setattr(Granted, "came_of", came_of)


def one_lost_parent_is_enough(patch: pytest.MonkeyPatch) -> None:
    """What a peer has by another way as well falls all the same."""

    def with_descendants(roots: Iterable[Granted]) -> list[Granted | Opened]:
        fallen: dict[Granted | Opened, None] = dict.fromkeys(root for root in roots if root.fallen is None)
        waiting = list(fallen)
        while waiting:
            for child in waiting.pop().children:
                if child.fallen is None and child not in fallen:
                    fallen[child] = None
                    waiting.append(child)
        return list(fallen)

    for module in (lineage, follower, revoke):
        patch.setattr(module, "with_descendants", with_descendants)


def streams_that_were_passed_on_flow_on(patch: pytest.MonkeyPatch) -> None:
    """A stream that a handler opened elsewhere outlives what that was called on."""

    def bear(self: Granted, child: Granted | Opened) -> None:
        if isinstance(child, Granted):
            original(self, child)

    original = Granted.bear
    patch.setattr(Granted, "bear", bear)


def births_after_the_fall_live(patch: pytest.MonkeyPatch) -> None:
    """A handler that goes on after its capability was revoked hands out what nobody takes back."""
    patch.setattr(lineage.Lineage, "fall_at_birth", _does_nothing)


def detaching_does_nothing(patch: pytest.MonkeyPatch) -> None:
    """What was taken out of the tree falls with it."""
    patch.setattr(Granted, "detach", _does_nothing)


# --- policies and guards ---


def a_policy_that_raises_admits(patch: pytest.MonkeyPatch) -> None:
    """An error is as good as a yes."""

    async def settled(loop: Any, faults: Any, where: str, seconds: float, ask: Callable[[], object]) -> object:
        try:
            answer = ask()
            return await answer if isawaitable(answer) else answer
        except Exception:
            return True

    for module in (names, policy):
        patch.setattr(module, "settled", settled)


def a_policy_that_hangs_admits(patch: pytest.MonkeyPatch) -> None:
    """Silence is as good as a yes."""

    async def settled(loop: Any, faults: Any, where: str, seconds: float, ask: Callable[[], object]) -> object:
        answer = ask()
        with move_on_after(seconds):
            return await answer if isawaitable(answer) else answer
        return True

    patch.setattr(names, "settled", settled)


def anything_true_admits(patch: pytest.MonkeyPatch) -> None:
    """What is true enough for Python is a yes."""

    def refusal_of(verdict: object) -> policy.Denied | None:
        return original(True if verdict and not isinstance(verdict, policy.Denied) else verdict)

    original = policy.refusal_of
    for module in (names, guarding):
        patch.setattr(module, "refusal_of", refusal_of)


def a_guard_that_raises_admits(patch: pytest.MonkeyPatch) -> None:
    """An error is as good as a yes."""

    def ask(self: Guard, export: Export, answer: Answer, arguments: Any) -> Awaitable[object] | None:
        guard = self._hook

        def lenient(call: Any) -> object:
            try:
                return guard(call)
            except Exception:
                return True

        self._hook = lenient
        try:
            return original(self, export, answer, arguments)
        finally:
            self._hook = guard

    original = Guard.ask
    patch.setattr(Guard, "ask", ask)


def pipelined_calls_are_not_guarded(patch: pytest.MonkeyPatch) -> None:
    """Who calls before there is an answer is not looked at."""

    def ask(self: Guard, export: Export, answer: Answer, arguments: Any) -> Awaitable[object] | None:
        return None if answer.place is not None else original(self, export, answer, arguments)

    original = Guard.ask
    patch.setattr(Guard, "ask", ask)


def one_way_calls_are_not_guarded(patch: pytest.MonkeyPatch) -> None:
    """Who wants no answer is not looked at."""

    def ask(self: Guard, export: Export, answer: Answer, arguments: Any) -> Awaitable[object] | None:
        return None if answer.id == 0 else original(self, export, answer, arguments)

    original = Guard.ask
    patch.setattr(Guard, "ask", ask)


def guarded_calls_overtake(patch: pytest.MonkeyPatch) -> None:
    """While a guard thinks about a call, later ones on the same reference start."""

    def line(self: Guard, export: Export) -> None:
        """Nobody waits."""

    patch.setattr(Guard, "line", line)


# --- swaps ---


def the_rollback_of_a_swap_is_lost(patch: pytest.MonkeyPatch) -> None:
    """A candidate that was not taken is never closed."""

    async def let_go(serving: Any, replacement: Replacement) -> None:
        """Nothing."""

    patch.setattr(swap, "_let_go", let_go)


def a_swap_commits_at_once(patch: pytest.MonkeyPatch) -> None:
    """The new implementation answers while it is being checked."""

    def prepare(self: Registry, *arguments: Any, **named: Any) -> Replacement:
        replacement = original(self, *arguments, **named)
        if named.get("swap"):
            self._swap(replacement.registration, replacement.hosted)
        return replacement

    original = Registry.prepare
    patch.setattr(Registry, "prepare", prepare)


def the_old_implementation_is_never_let_go(patch: pytest.MonkeyPatch) -> None:
    """What was replaced stays open."""

    def commit(self: Registry, replacement: Replacement) -> Hosted:
        old = original(self, replacement)
        old.hold()
        return old

    original = Registry.commit
    patch.setattr(Registry, "commit", commit)


def a_replacement_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    """Calls that run on the old implementation are cut, although they may finish."""

    def when_idle(self: Hosted, wake: Callable[[], None], *, besides: int = 0) -> None:
        wake()

    patch.setattr(Hosted, "when_idle", when_idle)


# --- membranes and restrictions ---


def membranes_are_not_transitive(patch: pytest.MonkeyPatch) -> None:
    """What comes out of a membrane in a result is the thing itself."""

    def rebuilt(value: Any, place: Position, replacing: membrane.Side) -> Any:
        return value if replacing._direction == "out" else crossing.rebuilt(value, place, replacing)

    patch.setattr(membrane, "rebuilt", rebuilt)


def what_goes_in_is_not_wrapped(patch: pytest.MonkeyPatch) -> None:
    """Arguments lead out of a membrane."""

    def rebuilt(value: Any, place: Position, replacing: membrane.Side) -> Any:
        return value if replacing._direction == "in" else crossing.rebuilt(value, place, replacing)

    patch.setattr(membrane, "rebuilt", rebuilt)


def a_cut_leaves_what_is_under_way(patch: pytest.MonkeyPatch) -> None:
    """What runs through a membrane when it is cut brings its result."""

    async def through(self: gate.Gate, step: Callable[[], Awaitable[Any]], /) -> Any:
        self.check()
        return await step()

    patch.setattr(gate.Gate, "__call__", through)


def a_membranes_policy_that_raises_admits(patch: pytest.MonkeyPatch) -> None:
    """An error is as good as a yes."""

    def admit(self: membrane.Membrane, *crossing: Any) -> None:
        try:
            original(self, *crossing)
        except PermissionDenied:
            if self._policy is not None and _raises(partial(self._policy, membrane.Crossing("in", "", "", {}))):
                return
            raise

    original = membrane.Membrane.admit
    patch.setattr(membrane.Membrane, "admit", admit)


def every_method_is_granted(patch: pytest.MonkeyPatch) -> None:
    """A restriction to some methods is none."""

    def checked(methods: Collection[str], contract: str, declared: Any) -> frozenset[str]:
        return frozenset(declared)

    patch.setattr(restriction, "_checked_methods", checked)


# --- lifetime ---


def close_hooks_run_again(patch: pytest.MonkeyPatch) -> None:
    """An object that is exported once more is closed once more."""

    async def aclose(self: Hosted) -> None:
        await self.implementation.aclose()

    patch.setattr(Hosted, "aclose", aclose)


# --- dispatch ---


def a_used_up_scope_serves_on(patch: pytest.MonkeyPatch) -> None:
    """A runner takes calls in the scope of one that was ended."""

    patch.setattr(Runner, "used_up", False)


def _does_nothing(*_: object) -> None:
    """In the place of what should be done."""


def _raises(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Exception:
        return True
    return False


async def _denied_at_once() -> None:
    await test_guard.test_anything_else_denies_and_the_handler_never_starts(test_guard.raises_at_once, "policy_failed")


async def _denied_for_one() -> None:
    def one(_: object) -> Any:
        return 1

    await test_policy.test_anything_else_denies(one, "denied")


PLANTED: list[tuple[Patch, Scenario]] = [
    (revocation_is_not_transitive, test_lineage.test_results_fall_with_what_they_came_of),
    (
        revocation_stays_on_one_connection,
        test_lineage.test_what_a_handler_gave_to_another_peer_falls_with_what_it_was_called_on,
    ),
    (one_lost_parent_is_enough, test_lineage.test_a_child_of_two_parents_falls_with_the_last),
    (streams_that_were_passed_on_flow_on, test_lineage.test_streams_and_sinks_that_a_handler_passed_on_end),
    (births_after_the_fall_live, test_lineage.test_what_is_handed_out_after_the_fall_falls_at_once),
    (detaching_does_nothing, test_lineage.test_detached_it_stands_alone_and_takes_its_own_branch_along),
    (
        a_policy_that_raises_admits,
        partial(test_policy.test_anything_else_denies, test_policy.raises_at_once, "policy_failed"),
    ),
    (a_policy_that_hangs_admits, test_policy.test_a_policy_that_hangs_denies_in_time),
    (anything_true_admits, _denied_for_one),
    (a_guard_that_raises_admits, _denied_at_once),
    (pipelined_calls_are_not_guarded, pipelined_calls_are_guarded),
    (one_way_calls_are_not_guarded, test_guard.test_streams_one_way_calls_and_the_runtime_are_guarded_too),
    (guarded_calls_overtake, test_guard.test_later_calls_on_the_same_reference_wait_and_no_others),
    (the_rollback_of_a_swap_is_lost, test_swap.test_when_the_block_raises_nothing_has_changed),
    (a_swap_commits_at_once, test_swap.test_when_the_block_raises_nothing_has_changed),
    (the_old_implementation_is_never_let_go, test_swap.test_at_the_end_of_the_block_the_candidate_answers),
    (a_replacement_does_not_wait, test_swap.test_running_calls_and_open_streams_finish_on_the_old_one),
    (membranes_are_not_transitive, test_membrane.test_what_comes_out_is_wrapped),
    (what_goes_in_is_not_wrapped, test_membrane.test_what_goes_in_is_wrapped_the_other_way),
    (a_cut_leaves_what_is_under_way, test_membrane.test_a_cut_ends_it_all),
    (a_membranes_policy_that_raises_admits, test_membrane.test_the_policy_sees_each_call_that_crosses),
    (every_method_is_granted, test_restrict.test_only_the_methods_that_were_granted),
    (
        a_used_up_scope_serves_on,
        partial(test_cancel.test_calls_that_end_while_their_handler_never_waits_take_no_runner_along, 1),
    ),
    (close_hooks_run_again, test_lifetime.test_the_close_hook_runs_once_although_the_object_is_exported_again),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fault", "scenario"), PLANTED, ids=[fault.__name__ for fault, _ in PLANTED])
def test_a_scenario_notices(fault: Patch, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds without the fault, and fails with it: by what it asserts, or because it waits for what never comes."""
    play(scenario)
    fault(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):
        play(scenario)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def play(scenario: Scenario) -> None:
    """Run it where time passes only while nothing else is to be done, and give up on it at last."""

    async def in_time() -> None:
        with anyio.fail_after(PATIENCE):
            await scenario()

    anyio.run(in_time, backend_options={"loop_factory": Virtual.loop})
