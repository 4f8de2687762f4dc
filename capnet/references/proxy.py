"""Proxies: capabilities of the peer as objects of the contract's type.

A proxy class is made once per contract: a subclass of it whose methods bind their arguments and make the call, so that
`isinstance` holds and checkers see the contract. What a proxy owns is its `Reference`; it is given back when it is
closed, at the end of its `async with`, or when the last proxy that shares it is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import Any, NoReturn, ParamSpec, TypeVar, cast, get_origin

from typing_extensions import TypeForm

from capnet.calls.call import Call
from capnet.contract import (
    CallableCap,
    Cap,
    ContractDescription,
    ContractSpec,
    MethodDescription,
    MethodSpec,
    contract_spec,
    differences,
)
from capnet.contract.declaration import declaration_of
from capnet.contract.description import described
from capnet.contract.stand_in import StandIn, stand_in_class
from capnet.engine.exports import FIRST_USER_ID
from capnet.engine.imports import Import
from capnet.errors import (
    CapnetError,
    ContractError,
    FailedPrecondition,
    InvalidArgument,
    Unimplemented,
    VersionMismatch,
)
from capnet.registry import Facet, Hosted

from .reference import Reference
from .untyped import Untyped

__all__ = [
    "Proxy",
    "UntypedProxy",
    "cast_cap",
    "dup",
    "dup_under",
    "generation",
    "held_under",
    "is_less",
    "make_proxy",
    "notify",
    "on_broken",
    "reference_of",
    "release",
    "spec_of",
    "untyped",
]

C = TypeVar("C")
P = ParamSpec("P")
_set = object.__setattr__


class Proxy(StandIn):
    """What all proxies have. Nothing here reaches the wire but the calls of the contract's methods."""

    _capnet_reference: Reference

    async def aclose(self) -> None:
        """Give the references back. Idempotent."""
        self._capnet_reference.release()

    def __capnet_narrow__(self, contract: Any) -> Any:
        """This capability as `contract`, sharing its reference.

        Raises:
            TypeError: it is another interface.
        """
        if contract is Cap:
            return self
        held_under(self, contract)
        return make_proxy(self._capnet_reference, contract)

    def __capnet_elsewhere__(self) -> Hosted:
        """What stands for this capability behind a name.

        Raises:
            FailedPrecondition: `promise`, it is not known yet; `another_loop`. Released: it was given back.
            VersionMismatch: the peer lacks methods of the contract. ContractError: it has no contract, or is the peer's
            runtime. What it is broken with.
        """
        reference = self._capnet_reference
        reference.caller.session.loop.check()
        target = reference.usable()
        if target.broken is not None:
            raise target.broken.again()
        if not isinstance(target, Import):
            raise FailedPrecondition("a promise cannot be served", reason="promise", hint="await the call first")
        if isinstance(self, UntypedProxy):
            raise ContractError("this proxy has no contract of this program", hint="say what it is with cast_cap()")
        if target.id < FIRST_USER_ID:
            raise ContractError("the runtime of a peer does not travel")
        spec = contract_spec(type(self))
        lacking = [
            f"method {one.name!r}: since {one.since}" for one in spec.methods.values() if one.since > target.version
        ]
        if lacking:
            text = f"the peer serves version {target.version} of {spec.name}, which lacks {'; '.join(lacking)}"
            raise VersionMismatch(text[:1000], details={"differences": lacking[:50], "version": target.version})
        return reference.caller.held.passing.of(target)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        mine, theirs = self._capnet_reference, other._capnet_reference
        return mine.imported is theirs.imported and mine.narrowed == theirs.narrowed

    def __hash__(self) -> int:
        return hash(id(self._capnet_reference.imported))

    def __repr__(self) -> str:
        reference = self._capnet_reference
        state = "released" if reference.released else "broken" if reference.imported.broken else "live"
        return f"<proxy of {reference.imported.interface} #{reference.imported.id} {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a proxy cannot be pickled or copied; dup() gives another proxy of the same capability")


class UntypedProxy(Untyped, Proxy):
    """A proxy without a contract of this program."""

    _capnet_spec: ContractSpec | None = None
    """What it is held under, when that is less than all that it is."""
    _capnet_told: ContractDescription | None = None
    """What the peer has said of its contract."""

    def __getattr__(self, name: str) -> NoReturn:
        error = AttributeError(f"this proxy has no contract of this program, and so no method {name!r}")
        if not name.startswith("_"):
            error.add_note(f"hint: call it by name, `proxy.call({name!r}, …)`, or say what it is with cast_cap()")
        raise error

    def _capnet_held(self) -> Reference:
        return self._capnet_reference

    def _capnet_known(self, method: str) -> MethodDescription | None:
        spec, told = self._capnet_spec, self._capnet_told
        if spec is not None:
            if method not in spec.methods:
                raise Unimplemented(f"{spec.name} has no method {method!r} that can be called")
            told = told or described(spec)
        return None if told is None else told.methods.get(method)


def make_proxy(reference: Reference, contract: Any = None) -> Any:
    """A proxy that owns (or shares) `reference`; without a contract its methods are called by name."""
    proxy = object.__new__(UntypedProxy if contract is None else _proxy_class(contract))
    _set(proxy, "_capnet_reference", reference)
    return proxy


def spec_of(proxy: Proxy) -> ContractSpec | None:
    """The contract that a proxy is held under; None for all that it is."""
    return proxy._capnet_spec if isinstance(proxy, UntypedProxy) else contract_spec(type(proxy))  # noqa: SLF001 - ours


def held_under(proxy: Proxy, contract: Any) -> ContractSpec | None:
    """What a proxy may be taken as or passed on as where `contract` is declared; None for all that it is.

    Raises:
        TypeError: more is declared than it is held under, or something else.
    """
    imported, narrowed = proxy._capnet_reference.imported, proxy._capnet_reference.narrowed  # noqa: SLF001
    held = spec_of(proxy)
    if contract is Cap:
        return held
    wanted = contract_spec(contract)
    if held is not None and issubclass(held.cls, wanted.cls):
        return wanted
    if wanted.is_callable and held is not None and held.is_callable and differences(wanted.shape, held.shape):
        raise TypeError("Expected a function of another signature than this one is held under")
    # What a peer says that something is counts as long as nobody has said less of it.
    said = held.name if narrowed and held is not None else imported.interface
    if said == wanted.name or (not narrowed and _extends(said, wanted.cls)):
        return wanted
    raise TypeError(f"Expected `{wanted.name}`, got `{said}`")


def _extends(name: str, contract: type) -> bool:
    """Whether a contract of that name is known here and extends another: a `File` is a `Reader`, too."""
    kinds: list[type] = contract.__subclasses__()
    for kind in kinds:
        declared = declaration_of(kind)
        if (declared is not None and declared.name == name) or _extends(name, kind):
            return True
    return False


def is_less(proxy: Proxy, spec: ContractSpec) -> bool:
    """Whether a contract that a proxy is held under leaves out something of what the peer says that it is."""
    reference, held = proxy._capnet_reference, spec_of(proxy)  # noqa: SLF001
    if spec.is_callable and held is not None and held.is_callable:  # a peer does not tell the signature
        return reference.narrowed or bool(differences(held.shape, spec.shape))
    target = reference.imported
    return reference.narrowed or spec.name != target.interface or spec.version < target.version


@lru_cache(maxsize=1024)
def _proxy_class(contract: Any) -> type[Proxy]:
    """The class of a contract's proxies."""
    spec = contract_spec(contract)
    return stand_in_class(f"{spec.cls.__name__}Proxy", Proxy, spec, partial(_method, spec))


def _method(spec: ContractSpec, method: MethodSpec) -> Callable[..., Any]:
    bind, positional, fewest, most = method.bind, method.positional, method.fewest, method.most

    def start(self: Proxy, *args: Any, **kwargs: Any) -> Call[Any]:
        reference = self._capnet_reference
        imported = reference.imported if not reference.released else reference.usable()
        if kwargs or not fewest <= len(args) <= most:
            return reference.caller.start(imported, method, bind(args, kwargs))
        return reference.caller.start(imported, method, dict(zip(positional, args)))  # noqa: B905 - the same at once

    def start_if_there(self: Proxy, *args: Any, **kwargs: Any) -> Call[Any]:
        offered = self._capnet_reference.imported.version
        if offered < method.since:
            raise Unimplemented(
                f"{spec.name}.{method.name} exists since version {method.since}, the peer serves {offered}",
                reason="version_mismatch",
                details={"since": method.since, "offered": offered},
            )
        return start(self, *args, **kwargs)

    begin = start_if_there if method.since > 1 else start

    def open_stream(self: Proxy, *args: Any, **kwargs: Any) -> Any:
        return self._capnet_reference.caller.payloads.reader(begin(self, *args, **kwargs))

    chosen: Any = open_stream if method.kind == "stream" else begin
    chosen.method = method
    return cast("Callable[..., Any]", chosen)


def notify(method: Callable[P, Coroutine[Any, Any, Any]], /) -> Callable[P, None]:
    """Call a method of a proxy one way: `notify(log.write)("started")`.

    Nothing comes back, no result and no error; the call starts in its order with the others. It leaves with what else
    is ready; where the peer has no room it waits for that, and further calls wait behind it.

    Raises:
        TypeError: it is no method of a proxy that answers once. CapnetError, when it is called: it cannot leave.
    """
    if isinstance(method, CallableCap):
        method = cast("Any", method).call
    proxy: object = getattr(method, "__self__", None)
    spec: object = getattr(method, "method", None)
    if not isinstance(proxy, Proxy) or not isinstance(spec, MethodSpec) or spec.kind != "call":
        raise TypeError("notify() takes a method of a proxy, such as notify(log.write)")

    def start(*args: P.args, **kwargs: P.kwargs) -> None:
        reference = reference_of(proxy)
        reference.caller.notify(reference.usable(), spec, spec.bind(args, kwargs))

    return start


def reference_of(proxy: object) -> Reference:
    """The reference behind a proxy.

    Raises:
        TypeError: it is no proxy, for instance an object of our own that came home.
    """
    if not isinstance(proxy, Proxy):
        raise TypeError(f"{type(proxy).__name__} is not a proxy")
    return proxy._capnet_reference  # noqa: SLF001 - contracts may use every public name, so this one is not


def release(proxy: object) -> None:
    """Give a proxy's references back now, without waiting. Idempotent; later use raises `Released`."""
    reference_of(proxy).release()


def dup(proxy: C) -> C:
    """Another proxy of the same capability, with a reference of its own: closing one leaves the other alone.

    Raises:
        Released: `proxy` was given back.
    """
    reference = reference_of(proxy)
    reference.caller.session.loop.check()
    reference.caller.held.hold(reference.usable())
    copy: Any = object.__new__(type(proxy))
    copy.__dict__.update(vars(proxy))
    _set(copy, "_capnet_reference", Reference(reference.caller, reference.imported, reference.narrowed))
    return cast("C", copy)


def dup_under(proxy: Proxy, spec: ContractSpec) -> Any:
    """The same, as no more than a contract that `proxy` is held under, whatever becomes of it.

    Raises:
        Released: `proxy` was given back.
    """
    reference = proxy._capnet_reference  # noqa: SLF001
    reference.caller.session.loop.check()
    reference.caller.held.hold(reference.usable())
    return make_proxy(Reference(reference.caller, reference.imported, is_less(proxy, spec)), spec.hint)


def on_broken(proxy: object, callback: Callable[[CapnetError], object]) -> Callable[[], None]:
    """Call `callback` once with the reason when the capability answers nothing any more.

    It is called soon when that is so already, and not at all when the proxy is given back first. Returns a function
    that ends it.
    """
    watch = getattr(type(proxy), "__capnet_on_broken__", None)  # what outlives what is behind it knows for itself
    if watch is not None:
        return cast("Callable[[], None]", watch(proxy, callback))
    reference = reference_of(proxy)
    reference.caller.session.loop.check()
    return reference.caller.held.watch(reference.usable(), callback)


def generation(proxy: object) -> int:
    """How often the implementation behind a proxy has been replaced, as far as the peer has told; 0 at first."""
    tell = getattr(type(proxy), "__capnet_generation__", None)
    return reference_of(proxy).imported.generation if tell is None else cast("int", tell(proxy))


def cast_cap(proxy: object, contract: TypeForm[C]) -> C:
    """A capability that came as plain data, as a proxy of `contract`; the two share one reference.

    What is ours and came home is the object itself where its own contract is asked for, and a facet of a narrower one.

    Raises:
        InvalidArgument: it is another interface.
    """
    if isinstance(proxy, Proxy | Facet):
        try:
            return cast("C", proxy.__capnet_narrow__(contract))
        except TypeError as error:
            raise InvalidArgument(str(error)) from None
    kind = cast("type[C]", get_origin(contract) or contract)
    if isinstance(proxy, kind):
        return proxy
    raise InvalidArgument(f"{type(proxy).__name__} is not a {kind.__name__}")


def untyped(capability: object) -> Untyped:
    """A capability whose methods are called by name; it shares its reference with `capability`.

        room = untyped(await lobby.anything())
        await room.call("post", text="hello")

    Args:
        capability: a proxy, such as what came where `Any` or `Cap` is declared. One with a contract stays within it:
            it has its methods and no others.

    Raises:
        TypeError: it is no proxy, for instance an object of our own that came home.
    """
    reference = reference_of(capability)
    if isinstance(capability, UntypedProxy):
        return capability
    proxy = make_proxy(reference)
    _set(proxy, "_capnet_spec", contract_spec(type(capability)))
    return cast("Untyped", proxy)
