"""In which order plugins start: those that others require before these. They stop the other way round."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from capnet.errors import InvalidArgument

__all__ = ["in_layers"]


def in_layers(requires: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Names in layers: what is in one requires nothing of its own or a later one.

    Args:
        requires: what each name requires; names that are no keys are there already.

    Raises:
        InvalidArgument: some require each other in a circle.
    """
    known = {name: [other for other in others if other in requires] for name, others in requires.items()}
    sorter = TopologicalSorter(known)
    try:
        sorter.prepare()
    except CycleError as error:
        raise InvalidArgument(f"plugins require each other in a circle: {' → '.join(error.args[1])}") from error
    while sorter.is_active():
        layer = sorter.get_ready()
        yield sorted(layer, key=list(known).index)
        sorter.done(*layer)
