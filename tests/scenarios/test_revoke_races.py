"""Revoke against calls, in every order that a random link gives: seeded, so that a failing one can be played again."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from capnet.engine.answers import Answer
from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, CallReturned, ExportEnded, ImportBroken
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.errors import Revoked
from capnet.testing.engines import EnginePair, EngineSide, capability, made_on
from tests.cost import BARS

GAMES = 250 if BARS else 60
ROUNDS = 40
"""Capabilities that are given, called and revoked in one game: in `make soak` ten thousand in all."""


class Game:
    """A pair of which the left side gives capabilities and takes them back while the right side calls them.

    Attributes:
        revoked: exports that were taken back.
        running: calls whose handlers have started and not returned.
        outcomes: how often each call that is to be answered was.
        told: how often the holder was told of each capability.
        ended: how often each export has ended.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pair = EnginePair().open()
        self.left, self.right = self.pair.sides
        self.revoked: set[Export] = set()
        self.running: list[Answer] = []
        self.outcomes: Counter[int] = Counter()
        self.told: Counter[Import] = Counter()
        self.ended: Counter[Export] = Counter()
        self.calls = 0

    def look(self) -> None:
        """What has happened. No handler starts on what was revoked."""
        for arrived in self.left.take(CallArrived):
            assert arrived.answer.export not in self.revoked and made_on(arrived.answer) is not None
            self.running.append(arrived.answer)
        for stopped in self.left.take(AnswerEnded):
            assert stopped.answer in self.running and isinstance(stopped.error, Revoked)
        self.ended.update(over.export for over in self.left.take(ExportEnded))
        self.told.update(broken.imported for broken in self.right.take(ImportBroken))
        for returned in self.right.take(CallReturned):
            self.outcomes[returned.token] += 1
            self.right.engine.release_all(returned.references)
        for failed in self.right.take(CallFailed):
            assert isinstance(failed.error, Revoked)
            self.outcomes[failed.token] += 1

    def call(self, imported: Import) -> None:
        """A call of some kind: with a capability, one-way, or with its answer kept for a while."""
        self.calls += 1
        kind = self.random.choice(("plain", "plain", "carrying", "one-way", "kept"))
        carried = [capability(f"argument {self.calls}")] if kind == "carrying" else []
        try:
            call = self.right.call(
                "m", *carried, target=imported, token=self.calls, one_way=kind == "one-way", keep=kind == "kept"
            )
        except Revoked:
            assert imported.broken is not None
            return
        if kind != "one-way":
            self.outcomes[self.calls] += 0
        if kind == "kept":
            self.right.engine.importing.release_call(call)

    def return_one(self) -> None:
        """A handler returns, some with another capability."""
        if self.running:
            answer = self.running.pop(self.random.randrange(len(self.running)))
            self.left.engine.release_all(answer.references)
            self.left.reply(answer, *([capability(f"result {answer.id}")] if self.random.random() < 0.3 else []))

    def deliver(self, side: EngineSide) -> None:
        """Some bytes arrive, cut anywhere."""
        if side.incoming.waiting:
            self.pair.deliver(side, self.random.randint(1, len(side.incoming.waiting)))
            self.look()

    def settle(self) -> None:
        """Everything arrives and every handler returns."""
        while True:
            self.pair.flush()
            self.look()
            if not self.running:
                return
            while self.running:
                self.return_one()

    def round(self, subject: str) -> None:
        """The life of one capability: revoked at one moment among calls, returns, drops and bytes, in any order."""
        imported = self.pair.give(self.left, subject)
        export = self.left.engine.exports.of(subject, "test.Thing")
        assert export is not None
        held, moment = True, self.random.randrange(10)
        for turn in range(10):
            if turn == moment:
                self.pair.step()
                self.look()
                self.left.engine.exporting.revoke([export], "gone")
                self.revoked.add(export)
            action = self.random.random()
            if action < 0.4 and held:
                self.call(imported)
            elif action < 0.5:
                self.return_one()
            elif action < 0.55 and held:
                self.right.engine.release(imported)
                held = False
            else:
                self.deliver(self.random.choice(self.pair.sides))
        self.settle()
        if held:
            assert self.told[imported] == 1
            self.right.engine.release(imported)
            self.settle()
        assert self.told[imported] <= 1 and self.ended[export] == 1
        assert all(count == 1 for count in self.outcomes.values()), "each call is answered exactly once"
        self.outcomes.clear()


@pytest.mark.parametrize("seed", range(GAMES))
def test_no_handler_starts_after_revoke_has_returned(seed: int) -> None:
    """P-CAP-6, T16: each holder is told once, each call is answered once, and nothing is left."""
    game = Game(seed)
    for number in range(ROUNDS):
        game.round(f"thing {number}")
    assert game.calls > ROUNDS and len(game.revoked) == ROUNDS
    game.pair.finish()
