"""The contract room: what a capability looks like.

Owns: how a capability is declared (`Cap`, `@call`, `@stream`, `@options`), the spec derived from its annotations, the
binding of arguments, the conversion of values from and to plain data, and the comparison of contracts.
Must not know: wire, loop or connection; it imports the standard library, msgspec and `capnet.errors`.

Open `capability.py` first (what a user writes), then `spec.py` (what the rest of capnet reads).

    capability, declaration, rules         what is declared, as it is kept, checked
    annotation, position                   what may travel, and under which contract
    hints, generics, fields                what annotations and classes say
    spec, shape                            a contract as the rest reads it; when two versions fit
    conversion, construction               what came is checked, and rebuilt
    preparation, keys, flags, growth       … after what a peer could misuse was taken from it
    unfit                                  … and how it is said that something does not fit
    plain, leaving, copied                 what leaves is taken apart, or kept as it is now
    path                                   what will stand in a result that is not there yet
    description, schema, documentation     a contract as it is told to others
    implementation, callables, context     the handlers of a class; functions as capabilities; what handlers see
    stand_in                               classes whose methods lead elsewhere: proxies, facets, wrappers
    reader, sink                           the two ends of a stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.contract.capability import Cap, Stream, call, options, stream
from capnet.contract.context import INJECT, CallContext
from capnet.contract.reader import Reader
from capnet.contract.sink import Sink
from capnet.lazy import loaded_on_use

if TYPE_CHECKING:
    from capnet.contract.annotation import Annotation
    from capnet.contract.callables import CallableCap, callable_contract
    from capnet.contract.conversion import INVALID_VALUE, ItemConversion, item_conversion
    from capnet.contract.description import ContractDescription, MethodDescription, ParameterDescription
    from capnet.contract.implementation import Handler, implementation_table
    from capnet.contract.path import contract_at, step_into
    from capnet.contract.shape import differences
    from capnet.contract.spec import (
        ContractSpec,
        MethodSpec,
        ParameterSpec,
        callable_spec,
        contract_spec,
        edition_of,
        implemented_spec,
    )

__all__ = [
    "INJECT",
    "INVALID_VALUE",
    "Annotation",
    "CallContext",
    "CallableCap",
    "Cap",
    "ContractDescription",
    "ContractSpec",
    "Handler",
    "ItemConversion",
    "MethodDescription",
    "MethodSpec",
    "ParameterDescription",
    "ParameterSpec",
    "Reader",
    "Sink",
    "Stream",
    "call",
    "callable_contract",
    "callable_spec",
    "contract_at",
    "contract_spec",
    "differences",
    "edition_of",
    "implementation_table",
    "implemented_spec",
    "item_conversion",
    "options",
    "step_into",
    "stream",
]

# What a declaration does not need is imported when it is first asked for: msgspec alone takes as long as all the rest.
_LAZY = {
    "INVALID_VALUE": "capnet.contract.conversion",
    "Annotation": "capnet.contract.annotation",
    "CallableCap": "capnet.contract.callables",
    "ContractDescription": "capnet.contract.description",
    "ContractSpec": "capnet.contract.spec",
    "Handler": "capnet.contract.implementation",
    "ItemConversion": "capnet.contract.conversion",
    "MethodDescription": "capnet.contract.description",
    "MethodSpec": "capnet.contract.spec",
    "ParameterDescription": "capnet.contract.description",
    "ParameterSpec": "capnet.contract.spec",
    "callable_contract": "capnet.contract.callables",
    "callable_spec": "capnet.contract.spec",
    "contract_at": "capnet.contract.path",
    "contract_spec": "capnet.contract.spec",
    "differences": "capnet.contract.shape",
    "edition_of": "capnet.contract.spec",
    "implementation_table": "capnet.contract.implementation",
    "implemented_spec": "capnet.contract.spec",
    "item_conversion": "capnet.contract.conversion",
    "step_into": "capnet.contract.path",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
