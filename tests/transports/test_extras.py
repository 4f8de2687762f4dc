"""What is said where an optional package is missing, and that nobody pays for what they do not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import anyio, sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # as where it is not installed
from capnet import MissingExtra, connect
async def main():
    async with connect(sys.argv[1], token=None):
        pass
try:
    if sys.argv[1] == "certificate":
        from capnet_transports.certificates import make
        make("anna")
    else:
        anyio.run(main)
except MissingExtra as error:
    print(error)
"""


def run(*arguments: str) -> str:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", *arguments], check=True, cwd=root, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.parametrize(
    ("what", "package", "extra"),
    [
        ("ws://127.0.0.1:1", "websockets.client", "ws"),
        ("wss://127.0.0.1:1", "websockets.client", "wss"),
        ("nats://127.0.0.1:1/adder", "nats", "nats"),
        ("certificate", "cryptography", "tls"),
    ],
)
def test_a_missing_package_says_what_to_install(what: str, package: str, extra: str) -> None:
    said = run(PROGRAM, what, package)
    assert f'pip install "capnet[{extra}]"' in said and package.partition(".")[0] in said


def test_extras_are_what_the_errors_say() -> None:
    """Each of them is there to be installed."""
    from importlib.metadata import metadata

    assert {"nats", "tls", "ws", "wss"} <= set(metadata("capnet").get_all("Provides-Extra") or ())


def test_importing_tcp_leaves_tls_alone() -> None:
    """Nor is a package imported for a transport that is not used."""
    program = (
        "import sys; from capnet_transports import tcp, unix;"
        "print(sorted({'cryptography', 'nats', 'trio', 'websockets'} & set(sys.modules)))"
    )
    assert run(program).strip() == "[]"


def test_tls_itself_needs_no_package() -> None:
    """Only to make certificates does."""
    program = "import sys; sys.modules['cryptography'] = None; from capnet_transports import tls; print(tls.scheme)"
    assert "TlsScheme" in run(program)
