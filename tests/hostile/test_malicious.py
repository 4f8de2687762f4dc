"""A peer that says anything, legal and not, to an engine with a lively owner (R3); `malicious.py` says how.

A long run is `tests/soak/test_malicious.py`. A second part plants faults that a peer could use, one at a time, and
expects each to be noticed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from capnet.engine.events import CallArrived
from capnet.limits import Limits
from capnet.testing.engines import RawPeer, capability
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, StreamRef
from tests.cost import TO_SPARE
from tests.hostile.faults import FAULTS, Patch, drop_of_too_many_accepted
from tests.hostile.malicious import EAGER, MOST_PER_TURN, Campaign, Found, campaign, replay

FRAMES = 50_000
SEED = 2025
MOST_TO_NOTICE = 25_000
"""Frames in which a planted fault is noticed; most are within a tenth of them."""


def test_whatever_a_peer_says_the_engine_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """R3: invariants, one end for each beginning, the right clause for each breach, and no other error."""
    seed = int(os.environ.get("CAPNET_SEED", SEED))
    sys.stderr.write(f"CAPNET_SEED={seed}\n")
    done = campaign(seed, FRAMES)
    with capsys.disabled():
        sys.stdout.write(f"\n{done}\n")
    assert done.slowest <= TO_SPARE * MOST_PER_TURN
    assert_wide(done)


def assert_wide(done: Campaign) -> None:
    """It has gone deep and has ended in many ways: else it proves little."""
    assert done.frames >= FRAMES and done.acts > done.frames / 4
    clauses = {end for end in done.ends if end.startswith("P-")}
    assert len(clauses) >= 5 and {"P-OP", "P-CONN-1"} <= clauses, done.ends
    assert min(done.started.values()) > done.frames / 100, done.started


@pytest.fixture(scope="module")
def without_a_fault() -> None:
    """Nothing is found where nothing was planted."""
    campaign(SEED, MOST_TO_NOTICE, malice=EAGER)


@pytest.mark.usefixtures("without_a_fault")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_it_notices(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that a planted fault lets pass would prove nothing."""
    fault(monkeypatch)
    with pytest.raises(Found):
        campaign(SEED, MOST_TO_NOTICE, malice=EAGER, explain=False)


def test_what_it_finds_can_be_played_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script that is printed fails as it did, is short, and holds once the fault is gone."""
    with monkeypatch.context() as patch:
        drop_of_too_many_accepted(patch)
        with pytest.raises(Found):
            campaign(SEED, MOST_TO_NOTICE, malice=EAGER)
        _, script = capsys.readouterr().err.split("\nreplay", 1)
        assert len(script.splitlines()) < 30
        with pytest.raises(AssertionError):
            play(script)
    play(script)


def play(script: str) -> Any:
    """Run what was printed."""
    return eval(f"replay{script}", {"replay": replay})


# --- what it has found ---


def test_what_was_not_handed_over_yet_cannot_be_called() -> None:
    """P-ID-4, P-CALL-7: the frame that hands it over waits until there is room, and may be taken back before."""
    raw = RawPeer(greet=False)
    raw.say(Hello("raw", Limits(max_calls=16)).to_frame())
    engine = raw.engine
    for token in range(16):
        engine.call(engine.imports.bootstrap, "wait", {}, (), token)
    secret = capability("a secret")
    engine.call(engine.imports.bootstrap, "take", {"it": secret}, [secret], "held")
    raw.collect()
    assert engine.calls.held and secret.id == 2
    raw.say([2, 1, 2, "tell", {}])
    assert not raw.take(CallArrived)


def test_a_stream_is_not_opened_by_its_own_items() -> None:
    """P-ID-4: nobody could ever read it, and what comes on it would stay until the connection ends."""
    raw = RawPeer()
    raw.say([2, 1, 0, "open", {"items": StreamRef("out", id=1)}])
    raw.say([7, 3, [StreamRef("out", id=3)]])
    assert raw.clause == "P-ID-4"


def test_items_without_credit_have_no_effect() -> None:
    """P-ERR-3: of a frame that breaks a clause nothing is done; only the abort is said."""
    raw = RawPeer(Hello("narrow", Limits(stream_items=1)))
    gone = capability("gone")
    raw.say([2, 1, 0, "open", {"items": StreamRef("out", id=1)}])
    raw.reply(raw.take(CallArrived)[0].answer, gone, [gone])
    raw.say([11, [[gone.id, 1]]])
    said = raw.say([7, 1, [None, CapRef("test.Thing", 1, id=-gone.id)]])
    assert raw.clause == "P-STREAM-2"
    assert [frame[0] for frame in said] == [16]
