"""The context of a call (P-CALL-4) as a peer may fill it: bounded when it comes, and not read beyond what it is for."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest

from capnet import FailedPrecondition
from capnet.contract import contract_spec
from capnet.references.proxy import reference_of
from capnet.wire.frames import Op
from tests.connection.test_ordered import MemLedger
from tests.connection.tree import Node, chain
from tests.hostile.attack import Raw, scene

BOOTSTRAP = 0
LARGE: dict[str, Any] = {
    "a chain of 4 MiB": {"capnet.chain": " ab" * 1_390_000},
    "a wide chain": {"capnet.chain": " \N{PILE OF POO}" * 830_000},
    "hops of 9000 digits": {"capnet.hops": "9" * 9000},
    "a key of 300 bytes": {"k" * 300: ""},
    "30 000 keys": {str(number): "" for number in range(30_000)},
}


async def ordered(raw: Raw) -> int:
    """An ordered object, busy with a call that does not end."""
    await raw.greet()
    await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", {"name": "test.Ledger"}])
    target: int = (await raw.reply())[2].id
    await raw.send([Op.CALL, 2, target, "add", {"entry": "slow"}])
    return target


@pytest.mark.parametrize("context", LARGE.values(), ids=LARGE)
async def test_more_than_fits_is_no_call(context: dict[str, str]) -> None:
    """P-OP: nothing of it is kept, and nothing runs."""
    ledger = MemLedger()
    async with scene() as here, here.attacker() as raw:
        here.host.serve(ledger)
        target = await ordered(raw)
        await raw.send([Op.CALL, 3, target, "add", {"entry": "late"}, {"context": context}])
        assert (await raw.reply())[:2] == [Op.ABORT, "P-OP"]
        await raw.closed()
        assert await here.clause() == "P-OP"
        assert "late" not in ledger.entered


async def test_a_chain_is_searched_and_not_taken_apart() -> None:
    """Whatever stands in it, the call waits for its turn like any other."""
    ledger = MemLedger()
    async with scene() as here, here.attacker() as raw:
        here.host.serve(ledger)
        target = await ordered(raw)
        chains = ["", " ", "  ", " a" * 4096, "\n" * 8192, "é " * 2730]
        for id, text in enumerate(chains, 3):
            await raw.send([Op.CALL, id, target, "add", {"entry": f"{id}"}, {"context": {"capnet.chain": text}}])
        ledger.gate.set()
        assert [await raw.reply() for _ in range(len(chains) + 1)] == [
            [Op.RESULT, id, id - 1] for id in range(2, len(chains) + 3)
        ]


HOPS = ["", " 1", "-1", "+1", "1.0", "0x1", "٣", "1_0", "32", "33", "99", "999", "000", "1" * 19, "1" * 8000, "one"]


@pytest.mark.parametrize("hops", HOPS, ids=repr)
async def test_hops_that_no_program_counts(hops: str) -> None:
    """P-REF-4: the call goes no further, by an error that says so."""
    async with chain(3) as peers:
        with anyio.fail_after(60), pytest.raises(FailedPrecondition) as caught:
            await peers.last._parts.calls.start(
                cast("Any", reference_of(peers.node).imported),
                contract_spec(Node).methods["context"],
                {},
                {"capnet.hops": hops},
            )
        assert caught.value.reason == "forwarding_cycle"


async def test_a_full_context_goes_through_every_hop() -> None:
    """What programs on the way add has its own room."""
    mine = {f"k{number}": "v" * 8192 for number in range(16)}
    async with chain(5) as peers:
        told = await peers.last._parts.calls.start(
            cast("Any", reference_of(peers.node).imported),
            contract_spec(Node).methods["context"],
            {},
            mine,
        )
        assert told["context"] == {**mine, "capnet.hops": "3"}
