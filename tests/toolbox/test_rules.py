"""Rules of tools."""

from __future__ import annotations

from typing import Any

import pytest

from capnet import InvalidArgument, ResourceExhausted
from capnet.toolbox import Rule, rules
from capnet.toolbox.rules import Rates, rule_for
from tests.attenuation.store import Clock
from tests.attenuation.store import clock as clock


def test_rules_add_up_and_the_later_counts() -> None:
    own = Rule(grants=["a"], rate="1/s", timeout=1, tags=["x"], secret=["p"], read_only=True)
    held = {
        "mail.*": Rule(grants=["b"], rate="2/s", approval=True),
        "mail.send": Rule(timeout=5, tags=["y"], read_only=False, destructive=True, secret=["q"]),
        "other": Rule(grants=["c"]),
    }
    rule = rule_for("mail.send", own, held)
    assert set(rule.grants) == {"a", "b"}
    assert (rule.rate, rule.timeout, rule.approval) == ("2/s", 5, True)
    assert (set(rule.tags), set(rule.secret)) == ({"x", "y"}, {"p", "q"})
    assert (rule.read_only, rule.destructive) == (False, True)
    assert rule_for("mail", own, held) is own


@pytest.mark.parametrize(
    "wrong", [{"grants": "mail"}, {"tags": [1]}, {"rate": "often"}, {"timeout": 0}, {"timeout": float("inf")}]
)
def test_a_rule_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Rule(**wrong)


def test_buckets_that_are_full_again_are_not_kept(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "clock", clock)
    rates = Rates()
    for number in range(100):
        rates.take("tool", f"p{number}", "1/h")
    with pytest.raises(ResourceExhausted):
        rates.take("tool", "p0", "1/h")
    clock.now += 3000
    with pytest.raises(ResourceExhausted):
        rates.take("tool", "p1", "1/h")
    assert len(rates) == 100
    clock.now += 700
    rates.take("tool", "p5", "1/h")
    assert len(rates) == 2  # p1 was asked for lately
