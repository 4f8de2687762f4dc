"""What was meant by a word that is wrong."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the words that are closest to a wrong one, or all if there are few; None when there are none.

    Args:
        word: what was written.
        known: what could have been written. The last part of a dotted word is compared as well.
    """
    from difflib import get_close_matches  # not with capnet: who writes no wrong word does not need it

    words = sorted(known)
    folded: dict[str, dict[str, None]] = {}
    for name in words:
        for form in (name.casefold(), name.casefold().rpartition(".")[2]):
            folded.setdefault(form, {})[name] = None
    close = get_close_matches(word.casefold(), folded, n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(dict.fromkeys(name for form in close for name in folded[form]))}?"
    return f"there is {', '.join(words)}" if 0 < len(words) <= 12 else None
