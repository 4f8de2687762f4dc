"""Specs: a contract's methods as data, made from its declarations and annotations at first use.

`contract_spec` gives the `ContractSpec` of a contract, an implementation or a parametrised generic. Its `MethodSpec`s
stand on the path of every call: `bind` turns the caller's arguments into the map that travels, `receive_arguments` and
`receive_result` check and rebuild what came.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, get_origin

import msgspec

from capnet.contract.annotation import STREAMS, Annotation, Shape, read_annotation
from capnet.contract.callables import CallableCap, callable_contract
from capnet.contract.capability import Cap
from capnet.contract.conversion import MISSING, Conversion
from capnet.contract.declaration import Kind, MethodOptions, declaration_of, options_of, signature_of
from capnet.contract.generics import Bindings, bindings_of, substitute
from capnet.contract.hints import resolved_hints, words_in
from capnet.contract.leaving import Leaving
from capnet.contract.position import Position, position_of
from capnet.contract.rules import DATA, holds_data
from capnet.contract.shape import differences
from capnet.errors import ContractError

__all__ = [
    "ContractSpec",
    "MethodSpec",
    "ParameterSpec",
    "callable_spec",
    "contract_spec",
    "edition_of",
    "implemented_spec",
]


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a method.

    Args:
        name: as it travels (P-CALL-4).
        annotation: what it may hold; `annotation.item` is set when it is a stream.
        required: it has no default.
        keyword_only: it stands behind `*`.
        doc: what its annotation says of it in words.
    """

    name: str
    annotation: Annotation
    required: bool
    keyword_only: bool
    doc: str = ""


class MethodSpec:
    """One method of a contract.

    Attributes:
        contract: name of the contract.
        name: name of the method, also on the wire.
        kind: `call` or `stream`.
        stub: the function that declares it.
        since: contract version that brought it.
        timeout: seconds the caller waits without a nearer deadline, or None.
        idempotent: it may be called again when it is not known whether it ran.
        resume, position: the parameter of a stream that takes a position to go on behind, and the field of its items
            that is one, or None where the items are.
        parameters: by name, in order.
        result: what it returns; of a stream, `result.item` is what it yields.
        arguments_position, result_position: what may stand where in the map of the arguments, and in the result.
        checks_arguments, checks_result: a map in them may not have every key, so plain data is looked at as well.
        leaving: what is declared for a result that leaves.
        result_contracts: contracts that the result mentions, callables included; a result with capabilities is kept for
            pipelining (P-CALL-8).
        may_pipe: it is a call, and a capability may stand in its result, also where the result is only known as `Any`.
        growth: bytes that a value in its arguments may take more than its charge, see `Annotation`.
        positional: names of the parameters that are taken by position.
        fewest, most: so many arguments by position are enough, where there are no others, and so many can be.
    """

    def __init__(
        self,
        contract: str,
        stub: Callable[..., Any],
        marks: MethodOptions,
        parameters: Sequence[ParameterSpec],
        result: Annotation,
    ) -> None:
        self.contract = contract
        self.name = stub.__name__
        self.kind: Kind = marks.kind
        self.since = marks.since
        self.timeout = marks.timeout
        self.idempotent = marks.idempotent
        self.resume = marks.resume
        self.position = marks.position
        self.parameters: Mapping[str, ParameterSpec] = {parameter.name: parameter for parameter in parameters}
        self.result = result
        positions = {parameter.name: position_of(parameter.annotation.hint) for parameter in parameters}
        self.arguments_position = Position(fields=positions)
        self.result_position = position_of(result.hint)
        self.checks_arguments = self.arguments_position.checks_keys
        self.checks_result = self.result_position.checks_keys
        self.result_contracts = result.contracts
        self.may_pipe = self.kind == "call" and result.may_lead
        self.growth = max((parameter.annotation.growth for parameter in parameters), default=0)
        self.stub = stub
        self._prepare_bind(parameters)
        self._prepare_arguments(parameters)
        self._prepare_result(result)

    def __repr__(self) -> str:
        return f"<MethodSpec {self.contract}.{self.name}: {self.kind}>"

    def shape(self) -> list[Any]:
        """Plain data that describes it: kind, parameters by name, result, and since which version it is there."""
        parameters = {name: [taken.annotation.shape, taken.required] for name, taken in self.parameters.items()}
        return [self.kind, parameters, self.result.shape, self.since]

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by parameter name, as they travel; defaults that were not given are left out.

        Raises:
            TypeError: they do not fit the signature, in Python's words.
        """
        if not kwargs:
            if self.fewest <= len(args) <= self.most:
                return dict(zip(self.positional, args))  # noqa: B905 - may be shorter, and strict= costs time
        elif len(args) <= self.most:
            bound = dict(zip(self.positional, args))  # noqa: B905
            count = len(bound) + len(kwargs)
            bound.update(kwargs)
            complete = len(args) >= self.fewest or bound.keys() >= self._required
            if complete and len(bound) == count and self._names.issuperset(bound):
                return bound
        return self._bind_slowly(args, kwargs)

    def receive_arguments(self, args: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """What came from the wire, as positional and keyword arguments for the handler; absent ones are left out.

        Raises:
            InvalidArgument: an argument is unknown, missing or of another type; the text names the path.
        """
        values = msgspec.structs.astuple(self._conversion.convert(args))
        if len(args) < len(self._names):
            return self._partial(values)
        if not self._keywords:
            return values, {}
        most = self.most
        return values[:most], dict(zip(self._keywords, values[most:]))  # noqa: B905

    def arguments_by_name(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """What `receive_arguments` gave, by the names of the parameters."""
        return {**dict(zip(self.positional, positional)), **named}  # noqa: B905 - those left out are missing

    def receive_result(self, value: Any) -> Any:
        """The result that came from the wire, as the declared type.

        Raises:
            InvalidArgument: it has another type; the text names the path from `$.result`.
        """
        if type(value) is self._exact or self._exact is None:
            return value
        return self._result_conversion.convert({"result": value}).result

    def _prepare_bind(self, parameters: Sequence[ParameterSpec]) -> None:
        required = frozenset(parameter.name for parameter in parameters if parameter.required)
        self._order = tuple(self.parameters)
        self._names = frozenset(self.parameters)
        self._required = required
        self.positional = tuple(parameter.name for parameter in parameters if not parameter.keyword_only)
        self._keywords = tuple(parameter.name for parameter in parameters if parameter.keyword_only)
        self.most = len(self.positional)
        # More than `most` when a keyword is required, so that positional arguments alone never pass.
        self.fewest = sys.maxsize if required & set(self._keywords) else len(required)

    def _prepare_arguments(self, parameters: Sequence[ParameterSpec]) -> None:
        fields = [(parameter.name, parameter.annotation, parameter.required) for parameter in parameters]
        self._conversion = Conversion(f"{self.name}_arguments", fields, of=f"{self.contract}.{self.name}")

    def _prepare_result(self, result: Annotation) -> None:
        self.leaving = Leaving(result, "result")
        self._exact: Any = self.leaving.exact
        self._result_conversion = Conversion(f"{self.name}_result", [("result", result, True)])

    def _partial(self, values: tuple[Any, ...]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Positional up to the first gap, by name behind it."""
        given = 0
        for value in values[: self.most]:
            if value is MISSING:
                break
            given += 1
        rest = zip(self._order[given:], values[given:])  # noqa: B905
        return values[:given], {name: value for name, value in rest if value is not MISSING}

    def _bind_slowly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Let Python say what does not fit: the contract's own function is called, and fails before its body runs."""
        if "__signature__" not in vars(self.stub):
            inspect.unwrap(self.stub)(None, *args, **kwargs)
        # The stub of a callable takes anything; its signature does not.
        return dict(signature_of(self.stub).bind(None, *args, **kwargs).arguments)


class ContractSpec:
    """What a contract declares, inherited methods included.

    Attributes:
        cls: the contract class.
        hint: the same with the type arguments that it has here.
        name: its name on the wire.
        version: counts its additions.
        methods: by name, inherited ones first.
        ordered: calls on one object run one at a time. It belongs to the object: one that is passed as a base contract
            is still as ordered as the contract of its class says.
    """

    def __init__(
        self, cls: type[Cap], hint: Any, name: str, version: int, methods: Mapping[str, MethodSpec], ordered: bool
    ) -> None:
        self.cls = cls
        self.hint = hint
        self.name = name
        self.version = version
        self.methods = methods
        self.ordered = ordered

    def __repr__(self) -> str:
        return f"<ContractSpec {self.name} version {self.version}: {', '.join(self.methods)}>"

    @cached_property
    def shape(self) -> dict[str, Shape]:
        """Plain data that describes every method, for `describe` and `differences`."""
        return {name: method.shape() for name, method in self.methods.items()}

    @cached_property
    def names(self) -> frozenset[str]:
        """Its name, and those of the contracts that it inherits."""
        declared = map(declaration_of, self.cls.__mro__)
        return frozenset((self.name, *(one.name for one in declared if one is not None)))

    @cached_property
    def is_callable(self) -> bool:
        """It stands for a function: any function is an implementation of it."""
        return issubclass(self.cls, CallableCap)


def contract_spec(cls: Any) -> ContractSpec:
    """The spec of a contract class, of the contract an implementation class has, or of `Topic[int]`. Cached.

    Raises:
        ContractError: `cls` has no contract or two, or an annotation cannot be resolved or cannot travel.
    """
    if isinstance(cls, type):
        known: ContractSpec | None = cls.__dict__.get("_capnet_specs", {}).get(cls)
        if known is not None:
            return known
    origin = get_origin(cls) or cls
    if not isinstance(origin, type) or not issubclass(origin, Cap):
        raise ContractError(f"{cls!r} is not a capability", hint="pass a subclass of Cap")
    cache = cast("dict[object, ContractSpec]", vars(origin).get("_capnet_specs", {}))
    spec = cache.get(cls)
    if spec is None:
        spec = cache[cls] = _made_spec(origin, cls)
    return spec


def implemented_spec(cls: type[Cap], contract: type[Cap]) -> ContractSpec:
    """The spec of `contract`, one of the bases of `cls`, with the type arguments `cls` gives it.

    Raises:
        ContractError: `contract` is no contract, or an annotation cannot be resolved or cannot travel.
    """
    arguments = tuple(bindings_of(cls)[contract].values())
    return contract_spec(cast("Any", contract)[arguments] if arguments else contract)


def edition_of(spec: ContractSpec, kind: type) -> type[Cap]:
    """The contract among the bases of `kind` that `spec` speaks of: its own class, or one with its name.

    A module that is loaded again brings other classes, which say the same. Those of functions all have one name: of
    them it is one with a signature that fits. Without either it is the class of `spec`.
    """
    if not issubclass(kind, spec.cls):
        for base in kind.__mro__:
            declared = declaration_of(base)
            if declared is not None and declared.name == spec.name and (not spec.is_callable or _fits(base, spec)):
                return base
    return spec.cls


def _fits(function: type, spec: ContractSpec) -> bool:
    """Whether what has the contract of a function can be called as another one declares."""
    return not differences(spec.shape, contract_spec(function).shape)


def callable_spec(hint: Any) -> ContractSpec:
    """The spec of a one-method capability `Callable[[A, B], Awaitable[R]]`.

    Raises:
        ContractError: `hint` has another form, or a type in it cannot travel.
    """
    return contract_spec(callable_contract(hint))


def _made_spec(origin: type[Cap], cls: Any) -> ContractSpec:
    contract = _contract_of(origin)
    if contract is not origin:
        return implemented_spec(cls, contract)
    declared = declaration_of(contract)
    assert declared is not None  # _contract_of found it by its declaration
    if holds_data(contract):
        what, hint = DATA
        raise ContractError(f"contract {declared.name} {what}", hint=hint)
    methods = dict(_methods(declared.name, contract, bindings_of(cls)))
    return ContractSpec(contract, cls, declared.name, declared.version, methods, declared.ordered)


def _contract_of(cls: type[Cap]) -> type[Cap]:
    contracts = [base for base in cls.__mro__ if declaration_of(base) is not None]
    if not contracts:
        raise ContractError(f"{cls.__qualname__} has no contract", hint="subclass a class that declares methods")
    first = contracts[0]
    for other in contracts[1:]:
        if not issubclass(first, other):
            names = f"{_declared_name(first)} and {_declared_name(other)}"
            raise ContractError(
                f"{cls.__qualname__} implements two contracts, {names}",
                hint="declare one contract that inherits both and implement that",
            )
    return first


def _declared_name(contract: type) -> str:
    declared = declaration_of(contract)
    return declared.name if declared else contract.__qualname__


def _methods(name: str, contract: type, bindings: Mapping[type, Bindings]) -> Iterator[tuple[str, MethodSpec]]:
    stubs: dict[str, tuple[type, Callable[..., Any]]] = {}
    for owner in reversed(contract.__mro__):
        if declared := declaration_of(owner):
            stubs |= {method: (owner, stub) for method, stub in declared.methods.items()}
    for method, (owner, stub) in stubs.items():
        yield method, _method(name, owner, stub, bindings[owner])


def _method(contract: str, owner: type, stub: Callable[..., Any], bindings: Bindings) -> MethodSpec:
    where = f"contract {contract}.{stub.__name__}"
    # The contract's own name is known to its annotations wherever the class is defined.
    resolved = resolved_hints(stub, where, **{owner.__name__: owner})
    hints = {name: substitute(hint, bindings) for name, hint in resolved.items()}
    marks = options_of(stub)
    assert marks is not None  # declared methods carry their options
    _, *declared = signature_of(stub).parameters.values()
    parameters = [_parameter(where, parameter, hints[parameter.name]) for parameter in declared]
    result = read_annotation(hints["return"], f"{where}: result")
    if marks.kind == "stream" and get_origin(result.hint) not in STREAMS:
        raise ContractError(f"{where}: a stream returns a stream, not `{hints['return']}`", hint="write `-> Stream[T]`")
    return MethodSpec(contract, stub, marks, parameters, result)


def _parameter(where: str, parameter: inspect.Parameter, hint: Any) -> ParameterSpec:
    return ParameterSpec(
        parameter.name,
        read_annotation(hint, f"{where}: parameter '{parameter.name}'"),
        required=parameter.default is inspect.Parameter.empty,
        keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        doc=words_in(hint),
    )
