"""What every test shares: the loops it runs on and how hard Hypothesis tries."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.balance import every_start_has_its_end as every_start_has_its_end
from tests.loops import on_both_kinds as on_both_kinds

settings.register_profile(
    "quick", max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# The same examples in every run: a red build must be red because of the change.
settings.register_profile(
    "ci",
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", parent=settings.get_profile("ci"), max_examples=10_000, derandomize=False)
settings.load_profile(os.environ.get("CAPNET_HYPOTHESIS", "quick"))


def pytest_configure() -> None:
    """A shell that runs the tests in the background has them ignore SIGINT, and with them the programs they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """`capture_logs` leaves structlog configured, and what capnet tells would go to the output of other tests."""
    yield
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def logging_not_configured() -> Iterator[None]:
    """As in most programs: pytest would have all that `logging` is given, and nothing would go to standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capnet.observe.log._logging", logging.Logger("a logger that nothing takes from"))
        yield


@pytest.fixture(scope="module", autouse=True)
def heap_put_aside() -> None:
    """What is there when a module of tests begins is not looked through by the collections in it.

    Hundreds of tests collect at their end to see what is left; looking through all that pytest, Hypothesis and the
    tests are made of would take most of their time. It is also how `tests/connection/census.py` counts what is new.
    """
    gc.collect()
    gc.freeze()
