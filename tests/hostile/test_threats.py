"""The threats of reliability §1 and the tests that show what each comes to: every one has some, and all of them exist.

A test that is named after its threat (`test_t07_…`) need not stand here.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

THREATS: dict[str, list[str]] = {
    "T1": [
        "tests/hostile/test_t01_bytes.py::test_t01_frame_bomb_by_length",
        "tests/hostile/test_wire.py::test_nothing_is_kept_for_a_frame_that_is_too_long",
        "tests/transports/test_noise.py::test_slow_drip",
        "tests/transports/test_faults.py::test_slow_drip_in_the_handshake",
    ],
    "T2": ["tests/hostile/test_t01_bytes.py::test_t02_decode_bomb", "tests/hostile/test_wire.py::test_it_is_refused"],
    "T3": [
        "tests/hostile/test_t01_bytes.py::test_t03_item_bomb",
        "tests/hostile/test_t01_bytes.py::test_t03_everything_that_may_be_held_at_once",
        "tests/hostile/test_wire.py::test_the_worst_that_is_legal_is_bounded",
    ],
    "T4": [
        "tests/hostile/test_t01_bytes.py::test_t04_what_is_refused_has_done_nothing",
        "tests/hostile/test_wire.py::test_every_mutant_is_refused_or_is_a_frame_of_the_table",
    ],
    "T5": ["tests/hostile/test_t05_calls.py::test_t05_forged_ids"],
    "T6": ["tests/hostile/test_t05_calls.py::test_t06_refcount_attack"],
    "T7": ["tests/hostile/test_t05_calls.py::test_t07_capability_exhaustion_by_results"],
    "T8": [
        "tests/hostile/test_t05_calls.py::test_t08_call_flood",
        "tests/host/test_capacity.py::test_a_peer_has_its_turn_and_then_the_others",
    ],
    "T9": ["tests/hostile/test_t05_calls.py::test_t09_rapid_reset"],
    "T10": ["tests/hostile/test_t05_calls.py::test_t10_provoked_resets"],
    "T11": ["tests/hostile/test_t05_calls.py::test_t11_reply_hoarding"],
    "T12": [
        "tests/hostile/test_t12_flows.py::test_t12_slow_reader_of_data",
        "tests/transports/test_noise.py::test_one_stalled_among_nine_live",
        "tests/transports/test_faults.py::test_a_peer_that_reads_nothing",
    ],
    "T13": [
        "tests/hostile/test_connection.py::test_a_peer_that_says_nothing",
        "tests/hostile/test_connection.py::test_half_a_hello_and_silence",
        "tests/transports/test_noise.py::test_server_that_says_nothing",
        "tests/transports/test_faults.py::test_network_that_vanishes",
        "tests/transports/test_faults.py::test_network_that_vanishes_in_the_handshake",
        "tests/transports/test_noise.py::test_half_closed",
        "tests/host/test_capacity.py::test_a_flood_of_silent_peers_keeps_nobody_out",
    ],
    "T14": ["tests/hostile/test_t12_flows.py::test_t14_t15_credit_abuse_and_lifecycle_abuse"],
    "T15": ["tests/hostile/test_t12_flows.py::test_t15_streams_that_are_opened_and_left"],
    "T16": [
        "tests/hostile/test_t12_flows.py::test_t16_revoked_use",
        "tests/scenarios/test_revoke_races.py::test_no_handler_starts_after_revoke_has_returned",
    ],
    "T17": ["tests/hostile/test_t12_flows.py::test_t17_revocation_storm"],
    "T18": ["tests/hostile/test_t18_names.py::test_t18_name_games_with_methods"],
    "T19": [
        "tests/hostile/test_t12_flows.py::test_t19_bootstrap_flood",
        "tests/connection/test_policy.py::test_anything_else_denies",
    ],
    "T20": ["tests/hostile/test_t18_names.py::test_t20_errors_that_a_peer_makes_up"],
    "T21": ["tests/hostile/test_t18_names.py::test_t21_nothing_of_the_inside_leaves"],
    "T22": ["tests/hostile/test_t12_flows.py::test_t22_callback_recursion"],
    "T23": [
        "tests/hostile/test_t18_names.py::test_t23_observers_that_fail_and_write_under_a_flood",
        "tests/connection/test_events.py::test_observers_that_raise_or_block_do_not_slow_calls_down",
        "tests/unit/observe/test_bus.py::test_one_that_holds_up_the_loop_rests_and_goes_on_later",
    ],
    "T24": [
        "tests/host/test_swap.py::test_threat_24_a_name_is_replaced_by_its_owner_or_by_whoever_runs_the_host",
        "tests/host/test_swap.py::test_threat_24_a_handler_replaces_what_it_runs_on",
        "tests/host/test_swap_under_load.py::test_replaces_with_16_callers_and_4_streams",
    ],
    "T25": [
        "tests/integration/test_plugins.py::test_garbage_on_standard_output_disturbs_nobody",
        "tests/integration/test_kills.py::test_flood_on_standard_error",
    ],
    "T26": [
        "tests/integration/test_kills.py::test_plugins_are_killed",
        "tests/integration/test_kills.py::test_grandchild_that_left_the_group_delays_no_end",
        "tests/transports/test_exec.py::test_program_that_ignores_sigterm_is_killed",
        "tests/transports/test_exec.py::test_grandchild_in_the_group_goes_with_the_program",
    ],
    "T27": [
        "tests/integration/test_kills.py::test_hosts_are_killed",
        "tests/integration/test_kills.py::test_plugin_notices_the_death_of_a_host_whose_child_lives_on",
    ],
    "T28": [
        "tests/hostile/test_t28_strangers.py::test_t28_another_user_of_this_machine",
        "tests/transports/test_unix.py::test_another_user_is_turned_away",
        "tests/transports/test_unix.py::test_socket_and_its_directories_are_private",
    ],
    "T29": [
        "tests/hostile/test_t28_strangers.py::test_t29_tls_is_not_talked_down",
        "tests/transports/test_tls.py::test_refusals_are_told_at_once",
        "tests/transports/test_tls.py::test_older_tls_is_refused",
        "tests/transports/test_tls.py::test_a_listener_of_older_tls",
        "tests/transports/test_tls.py::test_time_for_a_handshake_is_bounded",
        "tests/transports/test_tls.py::test_a_cut_is_no_end",
    ],
    "T30": [
        "tests/hostile/test_t28_strangers.py::test_t30_nothing_is_compressed",
        "tests/transports/test_websocket.py::test_no_compression_is_agreed_on",
        "tests/interop/test_nginx.py::test_through_nginx",
        "tests/transports/test_websocket.py::test_what_breaks_it",
    ],
}


@cache
def named_tests(path: str) -> frozenset[str]:
    """The names of the tests in a module, those in classes included."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_threat_has_a_test() -> None:
    """R6: from T1 to T30."""
    assert list(THREATS) == [f"T{number}" for number in range(1, 31)]
    assert all(THREATS.values())


@pytest.mark.parametrize("threat", THREATS)
def test_each_of_them_exists(threat: str) -> None:
    """The names in the table are names of tests."""
    for name in THREATS[threat]:
        path, test = name.split("::")
        assert test in named_tests(path), name


def test_tests_of_this_folder_are_named_after_threats_there_are() -> None:
    """`test_t07_…` is about T7, and so its module says."""
    for path in sorted(Path(__file__).parent.glob("test_t[0-9]*.py")):
        for name in named_tests(f"tests/hostile/{path.name}"):
            numbers = re.findall(r"_t(\d\d)(?=_)", name)
            assert numbers and all(f"T{int(number)}" in THREATS for number in numbers), name
            for number in numbers:
                assert f"T{int(number)}" in path.read_text(), name
