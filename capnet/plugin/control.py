"""What a plugin host and a plugin say to each other beside the calls that they are there for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from capnet.contract import Cap, ContractSpec, Stream, call, stream

__all__ = ["CONTROL", "Control", "Interface", "Manifest", "Welcome"]

CONTROL: Final = "plugin.control"
"""Under this name a plugin serves its `Control`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A contract, as its side knows it.

    Attributes:
        name: on the wire.
        version: of the contract.
        shape: plain data that describes its methods.
        optional: whether the plugin does without.
    """

    name: str
    version: int
    shape: dict[str, Any]
    optional: bool = False

    @classmethod
    def of(cls, spec: ContractSpec, *, optional: bool = False) -> Interface:
        """That of a contract here."""
        return cls(name=spec.name, version=spec.version, shape=spec.shape, optional=optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The first word of the host.

    Attributes:
        capnet: the version of capnet there.
        plugin: what the host calls the plugin.
        generation: 1, and one more with each start and swap.
        settings: plain data, from the host's configuration.
        secrets: by name; they come this way because others can read arguments and environments.
        log_level: the least level that the host wants to see.
    """

    capnet: str
    plugin: str
    generation: int
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a plugin is; read from the annotations of its main function.

    Attributes:
        capnet: the version of capnet there.
        python: the version of Python there.
        pid: its process.
        import_seconds: from the start of its process to this word.
        needs: what its main function wants of the host.
        provides: what it gives.
    """

    capnet: str
    python: str
    pid: int
    import_seconds: float
    needs: list[Interface]
    provides: Interface


class Control(Cap, name="capnet.Plugin"):
    """What every plugin has for its host."""

    @call
    async def welcome(self, welcome: Welcome) -> Manifest:
        """The first call: each says who it is, and nothing runs yet."""
        ...

    @call
    async def start(self) -> None:
        """Run the main function; what it gives is served under the name of its contract afterwards."""
        ...

    @call
    async def check(self) -> str | None:
        """What the plugin says is wrong with it, None when it is well."""
        ...

    @call
    async def hands_over(self) -> tuple[bool, bool]:
        """Whether it can give its state to the one after it, and take that of the one before."""
        ...

    @stream
    def export_state(self) -> Stream[bytes]:
        """Its state, for the one that comes after it."""
        ...

    @call
    async def import_state(self, state: Stream[bytes]) -> None:
        """The state of the one before it."""
        ...
