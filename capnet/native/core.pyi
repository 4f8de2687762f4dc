from typing import Final, TypeVar

_T = TypeVar("_T")

EDITION: Final[int]

def bind(pure: _T, /) -> _T: ...
def bind_references(cap: type, answer: type, stream: type, /) -> None: ...
