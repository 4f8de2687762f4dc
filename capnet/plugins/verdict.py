"""Whether a host and a plugin understand each other, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from capnet.contract import ContractSpec, differences
from capnet.errors import VersionMismatch
from capnet.plugin.control import Manifest

__all__ = ["check_manifest", "verdict"]


def check_manifest(plugin: str, manifest: Manifest, wanted: ContractSpec, given: Mapping[str, ContractSpec]) -> None:
    """Whether a plugin gives what the host wants, and the host has what the plugin needs.

    Args:
        plugin: its name.
        manifest: what it says of itself.
        wanted: the contract that the host wants of it.
        given: the contracts that it could bootstrap, by name.

    Raises:
        VersionMismatch: with a sentence for each thing that is wrong. InvalidArgument: what it says is no contract.
    """
    said = verdict(manifest, wanted, given)
    if said:
        raise VersionMismatch(
            f"plugin {plugin} does not fit: {'; '.join(said)}"[:2000],
            details={"differences": said[:50]},
            hint=f"the plugin has capnet {manifest.capnet!r} and Python {manifest.python!r}"[:200],
        )


def verdict(manifest: Manifest, wanted: ContractSpec, given: Mapping[str, ContractSpec]) -> list[str]:
    """What is wrong, a sentence for each thing; an empty list when nothing is."""
    provides = manifest.provides
    if provides.name != wanted.name:
        said = [f"it gives {provides.name!r}, the host wants {wanted.name!r}"]
    else:
        ours, theirs = f"the host knows version {wanted.version}", f"it gives version {provides.version}"
        lacking = differences(wanted.shape, provides.shape, offered_version=provides.version)
        said = [f"{wanted.name} ({ours}, {theirs}): {sentence}" for sentence in lacking]
    for need in manifest.needs:
        offer = given.get(need.name)
        if offer is None:
            if not need.optional:
                said.append(f"it needs {need.name!r}, which the host does not give it")
            continue
        versions = f"it knows version {need.version}, the host gives version {offer.version}"
        lacking = differences(need.shape, offer.shape, offered_version=offer.version)
        said += [f"{need.name} ({versions}): {sentence}" for sentence in lacking]
    return said
