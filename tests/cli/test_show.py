"""What is printed, and that a peer's text cannot do more than be printed."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from capnet import observe
from capnet.cli.demo import show as show_module
from capnet.cli.demo.report import Report, report
from capnet.cli.demo.show import DETAILS, JsonShow, PlainShow, RichShow, Show, pick_show
from capnet.cli.text import clean
from capnet.observe.failure import failure_of
from capnet.plugins import PluginChanged, PluginEnded, PluginSwapped, PluginUnresponsive

HOSTILE = "a\x1b[2J\x9b\rb\u202e"


def tell(show: Show) -> None:
    """One of everything."""
    show.step("begin", "do()")
    show.event(Report(0.0, "index", 1, "CallStarted", HOSTILE))
    show.result("good")
    show.detail("more")
    show.problem("bad")
    show.summary({"ok": False}, {"read": "nothing"})


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(PlainShow())
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:6] == ["1. begin", "     do()", "   ✓ good", "     more", "   ✗ bad"]
    assert lines[-2:] == ["Something went wrong.", "   read      nothing"]


def test_every_event_in_the_order_in_which_it_became_known(capsys: pytest.CaptureFixture[str]) -> None:
    show = PlainShow(verbose=True)
    for time in (5.0, 4.0, 6.0):
        show.event(Report(time, "guest", 1, "CallStarted", HOSTILE))
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith("guest  #1  a�[2J��b�") for line in lines)
    times = [float(line.split()[0]) for line in lines]
    assert len(times) == 3 and times == sorted(times) and times[0] < 4.0


def test_of_many_details_the_first_few(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        show = PlainShow(verbose=verbose)
        for number in range(DETAILS + 2):
            show.detail(str(number))
        show.result("good")
        show.detail("another")
        show.step("next", "")
    plain, verbose_lines = capsys.readouterr().out.split("1. next\n")[:2]
    assert plain.split() == ["0", "1", *["…", "2", "more,", "with", "-v"], "✓", "good", "another"]
    assert verbose_lines.split() == ["0", "1", "2", "3", "✓", "good", "another"]


def test_coloured_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RichShow(verbose=True))
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out and "✓ good" in out


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(JsonShow())
    out = capsys.readouterr().out
    assert out.isascii()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["type"] for line in lines] == [
        "step", "event", "result", "detail", "problem", "summary",
    ]  # fmt: skip
    assert lines[1] == {
        "type": "event", "time": 0.0, "plugin": "index", "connection": 1, "kind": "CallStarted", "text": HOSTILE,
    }  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_picks_what_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(pick_show(as_json=True, verbose=False)) is JsonShow
    assert type(pick_show(as_json=False, verbose=False)) is PlainShow
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert type(pick_show(as_json=False, verbose=False)) is RichShow

    def nothing_installed(name: str) -> None:
        return None

    monkeypatch.setattr(show_module, "find_spec", nothing_installed)
    assert type(pick_show(as_json=False, verbose=False)) is PlainShow


def test_what_the_output_cannot_encode_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert clean("✓ good\nyes") == "? good\nyes"


EVENTS: list[tuple[type[observe.Event], dict[str, Any], str]] = [
    (observe.CallStarted, {"direction": "out", "call": 3, "contract": "C", "method": "m"}, "→ C.m #3"),
    (
        observe.CallFinished,
        {"direction": "in", "call": 3, "contract": "C", "method": "m", "result": "ok", "reason": None, "seconds": 0.5},
        "← C.m #3 ok 500.0 ms",
    ),
    (observe.CapExported, {"cap": 2, "contract": "C"}, "gave C as capability 2"),
    (observe.CapDropped, {"cap": 2, "contract": "C", "reason": "dropped"}, "got C back, capability 2: dropped"),
    (observe.CapRevoked, {"cap": 2, "contract": "C", "reason": "x"}, "revoked C, capability 2: x"),
    (observe.CapBroken, {"cap": 2, "contract": "C", "code": "c", "reason": "r"}, "lost C, capability 2: c/r"),
    (observe.CapReplaced, {"cap": 2, "contract": "C", "generation": 2}, "C, capability 2, is now of generation 2"),
    (observe.ConnectionOpened, {"transport": "exec", "version": 1}, "connected to a peer by exec, protocol 1"),
    (observe.ConnectionClosed, {"cause": "lost", "message": "m", "clause": None}, "connection closed: lost, m"),
    (
        observe.Bootstrapped,
        {"direction": "in", "name": "C", "result": "ok", "reason": None},
        "was asked for C: ok",
    ),
    (
        observe.Bootstrapped,
        {"direction": "out", "name": "C", "result": "permission_denied", "reason": "r"},
        "asked for C: permission_denied/r",
    ),
    (observe.PolicyDenied, {"name": "C", "method": None, "reason": "r"}, "denied C: r"),
    (observe.PolicyDenied, {"name": "C", "method": "m", "reason": "r"}, "denied C.m: r"),
    (observe.NameServed, {"name": "C", "contract": "C"}, "serves C"),
    (
        observe.NameReplaced,
        {"name": "C", "contract": "C", "mode": "drain", "generation": 2},
        "replaced C: generation 2",
    ),
    (observe.SwapBegan, {"name": "C", "contract": "C", "generation": 1}, "tries another C"),
    (
        observe.SwapEnded,
        {"name": "C", "contract": "C", "result": "rolled_back", "generation": 1},
        "swap of C rolled back: generation 1",
    ),
    (observe.Reconnecting, {"attempt": 2, "delay": 0.25, "cause": "gone"}, "lost: gone; attempt 2 in 0.2 s"),
    (
        observe.Reconnected,
        {"state_lost": True, "healed": ("C",), "broken": (), "again": 0, "indeterminate": 0, "generation": 1},
        "connected again: generation 1, 1 names healed, 0 broken",
    ),
    (
        observe.StreamOpened,
        {"direction": "in", "stream": -3},
        "← stream -3",
    ),
    (
        observe.StreamClosed,
        {"direction": "out", "stream": 3, "items": 5, "result": "cancelled", "reason": "stopped", "seconds": 0.5},
        "→ stream 3 cancelled/stopped 5 items",
    ),
    (observe.CreditStalled, {"stream": 3, "seconds": 1.0}, "stream 3 waits for its reader since 1.0 s"),
    (observe.NameUnserved, {"name": "C", "contract": "C"}, "serves C no more"),
    (observe.LimitHit, {"limit": "l"}, "limit l"),
    (observe.ViolationSeen, {"clause": "P-X-1", "message": "m"}, "violation of P-X-1: m"),
    (
        observe.HandlerFailed,
        {"where": "w", "correlation": "c", "error": failure_of(KeyError("k"))},
        "w failed: KeyError: 'k'",
    ),
    (observe.Event, {}, ""),
]


@pytest.mark.parametrize(("kind", "fields", "words"), EVENTS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_event_in_words(kind: type[observe.Event], fields: dict[str, Any], words: str) -> None:
    told = report(kind(time=5.0, sequence=1, connection=7, **fields))
    assert told == Report(5.0, "", 7, kind.__name__, words)


def test_every_kind_of_event_has_words() -> None:
    known = {kind for kind in vars(observe).values() if isinstance(kind, type) and issubclass(kind, observe.Event)}
    assert {kind for kind, _, _ in EVENTS} == known


def test_what_befalls_plugins_in_words() -> None:
    about: dict[str, Any] = {"time": 5.0, "sequence": 1, "plugin": "index"}
    told = [
        report(PluginChanged(**about, state="ready", reason="", pid=1)),
        report(PluginChanged(**about, state="backoff", reason="was ended by SIGKILL", pid=None)),
        report(PluginEnded(**about, returncode=-9, taken_back=2)),
        report(PluginSwapped(**about, result="rolled_back", reason="it does not fit")),
        report(PluginUnresponsive(**about, seconds=5.0, process="waits")),
    ]
    assert [one.text for one in told] == [
        "is ready",
        "is backoff: was ended by SIGKILL",
        "has ended with -9, and 2 capabilities of it were taken back",
        "swap rolled back: it does not fit",
        "has not answered for 5.0 s; its process waits",
    ]
    assert {one.plugin for one in told} == {"index"}
