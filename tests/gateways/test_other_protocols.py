"""What the pages say of other protocols: each row of their tables is shown by a test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import anyio
import pytest

from capnet import Attestation, Cap, Host, call, options, pipe
from capnet.gateways.jsonrpc import Gateway
from tests.gateways import pipes
from tests.gateways.lounge import Listener, MemLounge
from tests.gateways.webclient import client

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

WEB, SHAPES, APP = "test_capnweb_bridge", "test_capnweb_shapes", "test_capnweb_app"
RPC, LINES, ACP, VALUES = "test_jsonrpc_bridge", "test_jsonrpc_session", "test_acp", "test_json_values"
MCP, HERE = "test_mcp_bridge", "test_other_protocols"

SHOWN: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "how-to/json-rpc.md": {
        "a capability in a result": (f"{RPC}::test_references_are_handles",),
        "a capability as an argument": (
            f"{RPC}::test_references_are_handles",
            f"{VALUES}::test_a_capability_comes_home",
        ),
        "a stream in a result": (f"{RPC}::test_streams_come_in_parts",),
        "a stream as an argument": (f"{VALUES}::test_there_and_back",),
        "a function as an argument": (f"{RPC}::test_a_function_is_the_name_of_a_method_of_the_clients",),
        "bytes": (f"{VALUES}::test_there_and_back",),
        "what can be called": (f"{RPC}::test_another_implementation_is_described_anew",),
        "`invalid_argument`": (f"{LINES}::test_errors_there_and_back", f"{RPC}::test_the_table_of_errors"),
        "`unimplemented`, and a name that is not served": (f"{RPC}::test_the_table_of_errors",),
        "`not_found`": (f"{LINES}::test_errors_there_and_back", f"{ACP}::test_what_an_editor_is_refused"),
        "`unauthenticated`": (f"{LINES}::test_errors_there_and_back",),
        "`cancelled`": (f"{RPC}::test_a_request_that_is_given_up_is_cancelled_at_the_host",),
        "all others": (f"{LINES}::test_errors_there_and_back",),
    },
    "how-to/editors.md": {
        "an agent": (f"{ACP}::test_an_editor_talks_to_an_agent_that_is_served",),
        "a `sessionId`": (f"{ACP}::test_everything_comes_through_both_ends",),
        "`session/update`, `session/request_permission`, `fs/…`": (f"{ACP}::test_everything_comes_through_both_ends",),
        "a `terminalId`": (f"{ACP}::test_what_a_program_may_not_do",),
        "`session/cancel`": (f"{ACP}::test_a_turn_is_cancelled_and_a_request_is_given_up",),
        "`$/cancel_request`": (f"{ACP}::test_a_turn_is_cancelled_and_a_request_is_given_up",),
        "`_more/method`": (f"{ACP}::test_everything_comes_through_both_ends",),
        "an error": (f"{ACP}::test_what_an_editor_is_refused",),
    },
    "how-to/capnweb.md": {
        "arguments by place": (f"{WEB}::test_values_go_there_and_back",),
        "an object as the last argument": (f"{WEB}::test_arguments_that_are_named_come_in_an_object_at_the_end",),
        "a stub, or a promise of one, that came from the host": (f"{WEB}::test_a_session_as_it_is_said",),
        "an `RpcTarget` or a stub of one": (f"{WEB}::test_the_clients_objects_are_called_and_given_back",),
        "a function": (f"{WEB}::test_a_session_as_it_is_said",),
        "`ReadableStream`": (f"{WEB}::test_a_write_is_answered_when_it_was_read", f"{WEB}::test_moments_in_a_stream"),
        "`WritableStream`": (f"{WEB}::test_what_is_written_is_by_the_contract",),
        "a promise as an argument": (f"{WEB}::test_a_session_as_it_is_said",),
        "`map`": (f"{WEB}::test_a_map_over_capabilities_in_maps", f"{WEB}::test_a_map_over_nothing_and_over_one"),
        "a property": (f"{WEB}::test_a_session_as_it_is_said", f"{WEB}::test_what_is_not_there_is_told"),
        "number, `bigint`": (f"{WEB}::test_values_go_there_and_back",),
        "`Date`": (f"{WEB}::test_results_have_dates_where_moments_are_declared", f"{SHAPES}::test_both_ways"),
        "`Uint8Array`, `ArrayBuffer`": (f"{WEB}::test_values_go_there_and_back",),
        "`undefined`, `null`": (f"{WEB}::test_values_go_there_and_back",),
        "`URL`": (f"{WEB}::test_values_go_there_and_back",),
        "`Error` that is thrown": (f"{WEB}::test_each_code_goes_there_and_back",),
        "an error of the host's": (f"{WEB}::test_errors_tell_no_secrets_and_come_back_as_they_were",),
        "other views of bytes, `Request`, `Response`, `Headers`, `Blob`, an `Error` in data": (
            f"{WEB}::test_what_cannot_be_passed_on_fails_its_call_and_nothing_else",
        ),
    },
    "explanation/other-protocols.md": {
        "who speaks it": (f"{APP}::test_a_session_by_websocket", f"{ACP}::test_everything_comes_through_both_ends"),
        "goes over": (f"{APP}::test_a_batch", f"{RPC}::test_whole_messages", f"{RPC}::test_headers_and_batches"),
        "methods are known by": (f"{RPC}::test_a_table_of_methods_has_no_others",),
        "arguments": (f"{RPC}::test_params_by_name_and_by_place", f"{WEB}::test_values_go_there_and_back"),
        "a capability": (f"{RPC}::test_references_are_handles", f"{WEB}::test_a_session_as_it_is_said"),
        "it is given back": (f"{RPC}::test_references_are_handles", f"{WEB}::test_a_client_holds_no_more_than_it_may"),
        "the other side's objects": (
            f"{RPC}::test_a_function_is_the_name_of_a_method_of_the_clients",
            f"{WEB}::test_the_clients_objects_are_called_and_given_back",
            f"{WEB}::test_a_contract_that_nobody_has_named_is_told",
        ),
        "going on with a result that is not there": (
            f"{WEB}::test_a_session_as_it_is_said",
            f"{HERE}::test_what_a_host_goes_on_with_at_a_client_waits_in_the_gateway",
        ),
        "something for each element of a result": (f"{WEB}::test_a_map_over_capabilities_in_maps",),
        "streams to the client": (
            f"{WEB}::test_no_more_is_under_way_to_a_client_than_it_has_room_for",
            f"{RPC}::test_streams_come_in_parts",
        ),
        "streams from the client": (
            f"{WEB}::test_a_write_is_answered_when_it_was_read",
            f"{VALUES}::test_there_and_back",
        ),
        "cancelling a call": (
            f"{WEB}::test_a_release_of_what_was_pulled_cancels_it",
            f"{RPC}::test_a_request_that_is_given_up_is_cancelled_at_the_host",
        ),
        "deadlines": (f"{HERE}::test_the_deadlines_of_a_contract_hold",),
        "one-way calls": (
            f"{WEB}::test_a_release_of_what_nobody_waited_for_lets_it_run",
            f"{RPC}::test_notifications_run_in_order_and_are_never_answered",
        ),
        "order of calls": (
            f"{WEB}::test_calls_begin_in_the_order_in_which_they_come",
            f"{RPC}::test_notifications_run_in_order_and_are_never_answered",
        ),
        "errors": (f"{WEB}::test_each_code_goes_there_and_back", f"{LINES}::test_errors_there_and_back"),
        "bytes": (f"{WEB}::test_values_go_there_and_back", f"{VALUES}::test_there_and_back"),
        "integers beyond 2⁵³": (f"{WEB}::test_values_go_there_and_back", f"{VALUES}::test_there_and_back"),
        "moments": (f"{SHAPES}::test_both_ways", f"{VALUES}::test_there_and_back"),
        "told when names come and go": (f"{WEB}::test_a_name_that_is_served_again_is_there_again",),
        "told of revocation": (
            f"{WEB}::test_a_revoked_capability_answers_no_more",
            f"{RPC}::test_a_revoked_capability_is_revoked_for_clients",
        ),
        "signing in": (
            f"{APP}::test_a_token_is_shown_in_a_subprotocol_or_a_header",
            f"{RPC}::test_who_a_client_is_comes_from_its_socket",
        ),
        "version of a contract": (f"{WEB}::test_what_takes_the_place_of_another_is_called_as_that_was",),
    },
}
"""The rows of each page by their first cells, and the tests that show them."""


@pytest.mark.parametrize("page", [*SHOWN])
def test_each_row_of_a_table_is_shown(page: str) -> None:
    """By a test that there is; a row that is added wants one."""
    rows = re.findall(r"^\| ([^|]+?) +\|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    heads = {"in the contract", "code", "in the protocol", "JavaScript"}
    assert set(rows) - heads == set(SHOWN[page])
    for row, tests in SHOWN[page].items():
        for test in tests:
            file, _, name = test.partition("::")
            assert name in _tests_of(file), (row, test)


@cache
def _tests_of(file: str) -> frozenset[str]:
    tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text("utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


class Slow(Cap, name="test.Slow"):
    @options(timeout=0.05)
    @call
    async def slow(self) -> None: ...


class MemSlow(Slow):
    async def slow(self) -> None:
        await anyio.sleep_forever()


async def test_the_deadlines_of_a_contract_hold() -> None:
    async with client(MemSlow(), main="test.Slow") as one:
        assert (await one.error(["pipeline", 0, ["slow"], []]))["code"] == "deadline_exceeded"
    async with Host() as host, Gateway(host) as gateway, anyio.create_task_group() as tasks:
        host.serve(MemSlow())
        ours, theirs = pipes.pipe()
        tasks.start_soon(gateway.serve, theirs, Attestation(principal="x"))
        assert (await pipes.Speaker(ours).fail("test.Slow.slow", []))["data"]["code"] == "deadline_exceeded"
        await ours.aclose()


async def test_what_a_host_goes_on_with_at_a_client_waits_in_the_gateway() -> None:
    """Nothing is asked of a promise of the client's: the call leaves when what it is made on is there."""

    class Eager(MemLounge):
        async def listen(self, listener: Listener) -> list[int]:
            return [await pipe(listener.friend()).heard("x")]

    host = Host()
    async with client(host=host) as one:
        await host.replace(Eager())
        number = one.push(["pipeline", 0, ["listen"], [["export", -1]]])
        one.says(["pull", number])
        await one.hears('["push",["pipeline",-1,["friend"],[]]]', '["pull",1]')
        await one.quiet()
        one.says(["resolve", 1, ["export", -2]])
        await one.hears('["release",1,1]', '["push",["pipeline",-2,["heard"],["x"]]]', '["pull",2]')
        one.says(["resolve", 2, 7])
        told = [await one.next() for _ in range(4)]
        assert ["resolve", number, [[7]]] in told and ["release", -2, 1] in told
