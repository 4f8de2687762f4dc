"""What the demo did, for programs and in words."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Summary"]


@dataclass(slots=True)
class Summary:
    """The last line of `--json`."""

    ok: bool = False
    folder: str = ""
    query: str = ""
    plugins: list[str] = field(default_factory=list[str])
    remarks: int = 0
    files: int = 0
    skipped: int = 0
    words: int = 0
    hits: int = 0
    restarts: int = 0
    rolled_back: int = 0
    calls: int = 0
    failed: int = 0
    state: int = 0
    generation: int = 0
    denied: int = 0
    refused: int = 0
    restricted: int = 0
    revoked: int = 0
    exits: dict[str, int | None] = field(default_factory=dict[str, int | None])
    events: int = 0
    seconds: float = 0.0

    def lines(self) -> dict[str, str]:
        """The same in words."""
        return {
            "linted": f"{self.remarks} remarks on the programs in {self.folder}",
            "indexed": f"{self.files} files, {self.words} words; {self.query!r} stands in {self.hits} files",
            "survived": f"{self.restarts} plugin that was killed, and {self.rolled_back} swap that was rolled back",
            "swapped": f"the index, now of generation {self.generation}, with {self.state} bytes of memory; "
            f"{self.calls} calls meanwhile, {self.failed} failed",
            "refused": f"{self.denied} requests for what was not granted, {self.refused} attempts to get out of a "
            f"folder, {self.restricted} to do more with one than a restriction allows",
            "revoked": f"{self.revoked} folders, and the plugin was told of each",
            "ended": f"{', '.join(self.plugins) or 'no plugin'}; {self.seconds:.1f} s, {self.events} events",
        }
