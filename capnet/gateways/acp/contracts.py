"""What editors and agents are to each other: an agent, its sessions, and the editor as each session sees it.

Arguments and answers are the params and results of the protocol, version 1, member by member, those included that are
not known here. What stands for something by its id there is a capability here: `sessionId` and `terminalId` are in none
of them, except where an editor asks for an old session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from capnet import Cap, Unimplemented, call

__all__ = [
    "Agent",
    "AgentBase",
    "Client",
    "ClientBase",
    "NewTerminal",
    "Opened",
    "Session",
    "SessionBase",
    "Terminal",
]


class Terminal(Cap, name="acp.Terminal"):
    """A command that the editor runs for an agent."""

    @call
    async def output(self, params: dict[str, Any]) -> dict[str, Any]:
        """What it has printed, and how it has ended if it has."""
        ...

    @call
    async def wait_for_exit(self, params: dict[str, Any]) -> dict[str, Any]:
        """Wait until it has ended."""
        ...

    @call
    async def kill(self, params: dict[str, Any]) -> dict[str, Any]:
        """End it; what it has printed stays."""
        ...

    @call
    async def release(self, params: dict[str, Any]) -> dict[str, Any]:
        """End it, and forget it."""
        ...


@dataclass
class NewTerminal:
    """A terminal that was made.

    Attributes:
        terminal: it.
        answer: what else the answer has.
    """

    terminal: Terminal
    answer: dict[str, Any] = field(default_factory=dict[str, Any])


class Client(Cap, name="acp.Client"):
    """The editor, for one session."""

    @call
    async def update(self, params: dict[str, Any]) -> None:
        """Take news of the session: `session/update`. They come in the order in which they were told."""
        ...

    @call
    async def request_permission(self, params: dict[str, Any]) -> dict[str, Any]:
        """Ask the user: `session/request_permission`. The answer has the `outcome`."""
        ...

    @call
    async def read_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        """Read a file as the editor has it, also what is not saved: `fs/read_text_file`."""
        ...

    @call
    async def write_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        """Write one: `fs/write_text_file`."""
        ...

    @call
    async def create_terminal(self, params: dict[str, Any]) -> NewTerminal:
        """Run a command: `terminal/create`."""
        ...

    @call
    async def create_elicitation(self, params: dict[str, Any]) -> dict[str, Any]:
        """Have the user fill in a form: `elicitation/create`."""
        ...

    @call
    async def complete_elicitation(self, params: dict[str, Any]) -> None:
        """One that went on elsewhere is over: `elicitation/complete`."""
        ...

    @call
    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Any other method, as the protocol allows it to be added."""
        ...

    @call
    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Any other notification."""
        ...


class Session(Cap, name="acp.Session"):
    """A conversation with an agent."""

    @call
    async def prompt(self, params: dict[str, Any]) -> dict[str, Any]:
        """Say something to the agent, and wait until its turn is over: `session/prompt`.

        The answer has the `stopReason`. What happens meanwhile is told to the `Client` of the session.
        """
        ...

    @call
    async def cancel(self, params: dict[str, Any]) -> None:
        """End the turn: `session/cancel`. `prompt` then answers with the stop reason `cancelled`."""
        ...

    @call
    async def set_mode(self, params: dict[str, Any]) -> dict[str, Any]:
        """Choose a mode: `session/set_mode`."""
        ...

    @call
    async def set_config_option(self, params: dict[str, Any]) -> dict[str, Any]:
        """Set an option: `session/set_config_option`."""
        ...

    @call
    async def close(self, params: dict[str, Any]) -> dict[str, Any]:
        """End what runs in it, and forget it: `session/close`."""
        ...


@dataclass
class Opened:
    """A session that was opened.

    Attributes:
        session: it.
        id: by which it can be found again, at most 256 characters; one is made up where this is empty.
        answer: what else the answer has, such as `modes`.
    """

    session: Session
    id: str = ""
    answer: dict[str, Any] = field(default_factory=dict[str, Any])


class Agent(Cap, name="acp.Agent"):
    """What an editor talks to."""

    @call
    async def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        """Tell each other what both can do."""
        ...

    @call
    async def authenticate(self, params: dict[str, Any]) -> dict[str, Any]:
        """Log in, in one of the ways that `initialize` has told of."""
        ...

    @call
    async def logout(self, params: dict[str, Any]) -> dict[str, Any]:
        """Log out."""
        ...

    @call
    async def new_session(self, params: dict[str, Any], client: Client) -> Opened:
        """Begin a session.

        Args:
            params: of `session/new`.
            client: the editor, as this session has it; nothing can be told to it before the session was answered.
        """
        ...

    @call
    async def load_session(self, params: dict[str, Any], client: Client) -> Opened:
        """Go on with an old one, of which the editor is told all that was said.

        Args:
            params: of `session/load`, `sessionId` among them.
            client: the editor, as this session has it.
        """
        ...

    @call
    async def resume_session(self, params: dict[str, Any], client: Client) -> Opened:
        """Go on with an old one, whose past the editor knows.

        Args:
            params: of `session/resume`, `sessionId` among them.
            client: the editor, as this session has it.
        """
        ...

    @call
    async def list_sessions(self, params: dict[str, Any]) -> dict[str, Any]:
        """The old ones: `session/list`."""
        ...

    @call
    async def delete_session(self, params: dict[str, Any]) -> dict[str, Any]:
        """Forget an old one: `session/delete`, with its `sessionId`."""
        ...

    @call
    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Any other method, as the protocol allows it to be added."""
        ...

    @call
    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Any other notification."""
        ...


def _none(method: str) -> Unimplemented:
    return Unimplemented(f"there is no {method[:200]} here")


class ClientBase(Client):
    """An editor that can do nothing yet: override what yours can do, and tell the agent of it in `initialize`."""

    async def update(self, params: dict[str, Any]) -> None:
        """Nobody looks."""

    async def request_permission(self, params: dict[str, Any]) -> dict[str, Any]:
        """Nobody has answered."""
        return {"outcome": {"outcome": "cancelled"}}

    async def read_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("fs/read_text_file")

    async def write_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("fs/write_text_file")

    async def create_terminal(self, params: dict[str, Any]) -> NewTerminal:
        raise _none("terminal/create")

    async def create_elicitation(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("elicitation/create")

    async def complete_elicitation(self, params: dict[str, Any]) -> None:
        """There is none."""

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        raise _none(method)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Nobody listens."""


class SessionBase(Session):
    """A session that has no modes and options: override `prompt`, and `cancel` where a turn takes long."""

    async def prompt(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("session/prompt")

    async def cancel(self, params: dict[str, Any]) -> None:
        """There is nothing to end."""

    async def set_mode(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("session/set_mode")

    async def set_config_option(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("session/set_config_option")

    async def close(self, params: dict[str, Any]) -> dict[str, Any]:
        """There is nothing to end."""
        return {}


class AgentBase(Agent):
    """An agent without a login and old sessions: override `new_session`, and `initialize` where it can do more."""

    async def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        """It speaks version 1."""
        return {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": []}

    async def authenticate(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("authenticate")

    async def logout(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("logout")

    async def new_session(self, params: dict[str, Any], client: Client) -> Opened:
        raise _none("session/new")

    async def load_session(self, params: dict[str, Any], client: Client) -> Opened:
        raise _none("session/load")

    async def resume_session(self, params: dict[str, Any], client: Client) -> Opened:
        raise _none("session/resume")

    async def list_sessions(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("session/list")

    async def delete_session(self, params: dict[str, Any]) -> dict[str, Any]:
        raise _none("session/delete")

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        raise _none(method)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Nobody listens."""
