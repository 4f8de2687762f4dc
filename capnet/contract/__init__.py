"""The contract room: what a capability looks like.

It owns how a capability is declared (`Cap`, `@call`, `@stream`, `@options`), the spec derived from its annotations, the
binding of arguments, the conversion of values from and to plain data, and the comparison of contracts. It may not know
wire, loop or connection; it imports the standard library, msgspec and `capnet.errors`.

Open `capability.py` first (what a user writes), then `spec.py` (what the rest of capnet reads). `annotation.py` says
what may travel, `conversion.py` checks what came, `plain.py` takes apart what leaves, `shape.py` compares versions,
`implementation.py` finds the handlers of a class; `callables.py` and `generics.py` serve these.
"""

from __future__ import annotations

from capnet.contract.annotation import Annotation
from capnet.contract.callables import CallableCap, callable_contract
from capnet.contract.capability import Cap, Stream, call, options, stream
from capnet.contract.context import INJECT, CallContext
from capnet.contract.implementation import Handler, implementation_table
from capnet.contract.plain import plain
from capnet.contract.shape import differences, shape
from capnet.contract.spec import ContractSpec, MethodSpec, ParameterSpec, callable_spec, contract_spec, implemented_spec

__all__ = [
    "INJECT",
    "Annotation",
    "CallContext",
    "CallableCap",
    "Cap",
    "ContractSpec",
    "Handler",
    "MethodSpec",
    "ParameterSpec",
    "Stream",
    "call",
    "callable_contract",
    "callable_spec",
    "contract_spec",
    "differences",
    "implementation_table",
    "implemented_spec",
    "options",
    "plain",
    "shape",
    "stream",
]
