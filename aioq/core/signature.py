"""What a task accepts and returns, compiled once from its annotations.

The caller's side checks names and counts, so that a wrong call fails where it is written.
The worker's side turns plain MessagePack values into the annotated types: msgspec for all it
knows, pydantic for the rest.
"""

import contextlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import PurePath
from typing import Any

import msgspec

from aioq.core.errors import ConfigurationError, InvalidArguments

Convert = Callable[[Any], Any]


class Parameters:
    """The parameters of one task, without those that receive its context."""

    def __init__(
        self, function: Callable[..., Any], *, task: str, injected: type, bind: bool
    ) -> None:
        self._task = task
        hints = _hints(function)
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        if bind:
            if not parameters:
                message = f"task {task} has bind=True but takes no parameter for its context"
                raise ConfigurationError(message)
            parameters = parameters[1:]
        self.injected: tuple[str, ...] = tuple(
            parameter.name
            for parameter in parameters
            if _is_injected(hints.get(parameter.name), parameter.default, injected)
        )
        """Names of the parameters that receive the context by keyword."""
        self._places = [
            (place, parameter.name)
            for place, parameter in enumerate(signature.parameters.values())
            if parameter.name in self.injected and parameter.kind is not parameter.KEYWORD_ONLY
        ]
        self.signature: inspect.Signature = signature.replace(
            parameters=[p for p in parameters if p.name not in self.injected]
        )
        """What the caller may pass."""
        self._count()
        returns = hints.get("return", Any)
        streams = inspect.isasyncgenfunction(function)
        self._returns: Any = None if streams else returns
        self._yields = next(iter(typing.get_args(returns)), Any) if streams else Any
        self._hints = hints
        self._converters: _Converters | None = None
        self._convert_result: Convert | None = None
        self._convert_item: Convert | None = None

    def _count(self) -> None:
        """Note how many positional arguments are right, so that most calls need no binding."""
        self._fewest = self._most = self._fewest_positional_only = 0
        self._simple = True
        for parameter in self.signature.parameters.values():
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
                is_required = parameter.default is parameter.empty
                self._most += 1
                self._fewest += is_required
                if parameter.kind is parameter.POSITIONAL_ONLY:
                    self._fewest_positional_only += is_required
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._most = sys.maxsize
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self._simple = self._simple and parameter.default is not parameter.empty

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check a call against the signature.

        Raises:
            TypeError: an argument is missing, unknown or too many.
        """
        if not kwargs and self._simple and self._fewest <= len(args) <= self._most:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            message = f"{self._task}{self.signature}: {error}"
            raise TypeError(message) from None
        if len(args) < self._fewest_positional_only:  # Python 3.13.0 binds it to **kwargs
            message = f"{self._task}{self.signature}: a positional-only argument is missing"
            raise TypeError(message)

    def inject(self, args: list[Any], kwargs: dict[str, Any], context: object) -> None:
        """Put the context where the function wants it, among arguments of a call that fits.

        Args:
            args: the positional arguments, with the context of a bound task already in front.
            kwargs: the keywords; a context that is given there stays.
            context: what to put in.
        """
        for place, name in self._places:
            if name not in kwargs and place <= len(args):
                args.insert(place, context)
            else:
                kwargs.setdefault(name, context)
        for name in self.injected[len(self._places) :]:
            kwargs.setdefault(name, context)

    def compile(self) -> None:
        """Build the converters now.

        Raises:
            ConfigurationError: neither msgspec nor pydantic knows a parameter's type.
        """
        _ = self.converters

    @property
    def converters(self) -> "_Converters":
        """The typed side; built at a worker's start, or at the first use."""
        if self._converters is None:
            self._converters = _Converters(self._task, self.signature, self._hints)
        return self._converters

    def result(self, value: Any) -> Any:  # noqa: ANN401 - any value of MessagePack
        """Turn a plain result into the annotated return type.

        Raises:
            InvalidArguments: the stored result does not fit the annotation.
        """
        if self._convert_result is None:
            self._convert_result = _converter(self._returns, f"the result of {self._task}")
        try:
            return self._convert_result(value)
        except (msgspec.ValidationError, ValueError) as error:
            message = f"the result of {self._task} does not fit its annotation: {error}"
            raise InvalidArguments(message) from error

    def item(self, value: Any) -> Any:  # noqa: ANN401 - any value of MessagePack
        """Turn a plain item of a stream into the annotated type of what the task yields.

        Raises:
            InvalidArguments: the stored item does not fit the annotation.
        """
        if self._convert_item is None:
            self._convert_item = _converter(self._yields, f"an item of {self._task}")
        try:
            return self._convert_item(value)
        except (msgspec.ValidationError, ValueError) as error:
            message = f"an item of {self._task} does not fit its annotation: {error}"
            raise InvalidArguments(message) from error


class _Converters:
    """Turn the arguments of one task into their annotated types."""

    def __init__(self, task: str, signature: inspect.Signature, hints: dict[str, Any]) -> None:
        self._task = task
        self._positional: list[tuple[str, Convert]] = []
        self._named: dict[str, Convert] = {}
        self._rest: Convert = _keep
        self._other: Convert = _keep
        for parameter in signature.parameters.values():
            what = f"parameter {parameter.name!r} of task {task}"
            convert = _converter(hints.get(parameter.name, Any), what)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = convert
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._other = convert
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append((parameter.name, convert))
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    self._named[parameter.name] = convert
        every = (*(c for _, c in self._positional), *self._named.values(), self._rest, self._other)
        self._all_plain = all(convert is _keep for convert in every)

    def args(self, values: list[Any]) -> list[Any]:
        """Convert positional arguments.

        Raises:
            InvalidArguments: naming the task, the parameter and the mismatch.
        """
        if self._all_plain:
            return values
        converted: list[Any] = []
        for index, value in enumerate(values):
            known = index < len(self._positional)
            name, convert = self._positional[index] if known else (f"#{index + 1}", self._rest)
            converted.append(self._one(name, convert, value))
        return converted

    def kwargs(self, values: dict[str, Any]) -> dict[str, Any]:
        """Convert keyword arguments; see `args`."""
        return {
            name: self._one(name, self._named.get(name, self._other), value)
            for name, value in values.items()
        }

    def _one(self, name: str, convert: Convert, value: Any) -> Any:  # noqa: ANN401 - any value
        try:
            return convert(value)
        except (msgspec.ValidationError, ValueError) as error:
            message = f"argument {name!r} of task {self._task} does not fit: {error}"
            raise InvalidArguments(message) from error


def _keep(value: Any) -> Any:  # noqa: ANN401 - the identity
    return value


def _converter(annotation: Any, what: str) -> Convert:  # noqa: ANN401 - any annotation
    if annotation is Any or annotation is object or isinstance(annotation, typing.TypeVar):
        return _keep
    if any(annotation is kind for kind in (int, str, bool, bytes, float)):
        return _builtin(annotation)
    if _is_constrained_by_pydantic(annotation):  # msgspec would ignore it
        return _adapter(annotation, what)
    try:
        info = msgspec.inspect.type_info(annotation)
        _require_adapters(info, what)
    except TypeError:  # msgspec cannot build this type at all; pydantic may
        return _adapter(annotation, what)
    return lambda value: msgspec.convert(value, annotation, dec_hook=_by_pydantic)


def _builtin(kind: Any) -> Convert:  # noqa: ANN401 - one of the builtin types
    """Convert to a type for which the value is nearly always right already."""

    def convert(value: Any) -> Any:  # noqa: ANN401 - any value of MessagePack
        # bool is an int here too, as it is for Python and for the type checkers.
        return value if isinstance(value, kind) else msgspec.convert(value, kind)

    return convert


def _is_constrained_by_pydantic(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    metadata: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    modules = {type(each).__module__.partition(".")[0] for each in metadata}
    return bool(modules & {"pydantic", "annotated_types"}) or any(
        _is_constrained_by_pydantic(each) for each in typing.get_args(annotation)
    )


def _require_adapters(info: object, what: str, seen: set[int] | None = None) -> None:
    """Check that pydantic knows every type inside which msgspec leaves to hooks."""
    seen = set() if seen is None else seen
    if id(info) in seen:  # a type that contains itself
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        _adapter(info.cls, what)
    elif isinstance(info, (list, tuple)):
        for item in typing.cast("tuple[object, ...]", info):
            _require_adapters(item, what, seen)
    elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
        for name in info.__struct_fields__:
            _require_adapters(getattr(info, name), what, seen)


_validators: dict[Any, Convert] = {}
"""How to make the types that msgspec leaves to hooks."""


def _adapter(annotation: Any, what: str) -> Convert:  # noqa: ANN401 - any annotation
    """Return what makes a type that msgspec does not know: a path's class, or pydantic.

    Raises:
        ConfigurationError: pydantic is missing, or does not know the type either.
    """
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return _validators.setdefault(annotation, annotation)
    try:
        pydantic = import_module("pydantic")
    except ImportError:
        message = (
            f"{what} has the type {annotation!r}, which msgspec cannot decode; "
            "install pydantic if it is a pydantic type, or annotate it with another one"
        )
        raise ConfigurationError(message) from None
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticUserError as error:
        reason = str(error).splitlines()[0]
        message = f"{what} has the type {annotation!r}, which cannot be decoded: {reason}"
        raise ConfigurationError(message) from None

    def validate(value: Any) -> Any:  # noqa: ANN401 - any value of MessagePack
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError:
            # A strict model takes the text of a date from JSON only, and as JSON it was written.
            return adapter.validate_json(msgspec.json.encode(value))

    with contextlib.suppress(TypeError):  # what cannot be hashed is never inside another type
        _validators[annotation] = validate
    return validate


def _by_pydantic(kind: type, value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    return value if isinstance(value, kind) else _validators[kind](value)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        reason = (
            f"names {error.name!r}, which does not exist when the program runs; import it outside "
            "`if TYPE_CHECKING:`"
        )
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        reason = f"cannot be evaluated: {type(error).__name__}: {error}"
    message = f"an annotation of {function.__module__}.{function.__qualname__} {reason}"
    raise ConfigurationError(message)


def _is_injected(hint: Any, default: object, injected: type) -> bool:  # noqa: ANN401 - any
    meant = any(
        isinstance(each, type) and issubclass(each, injected)
        for each in (hint, *typing.get_args(hint))
    )
    return meant or isinstance(default, injected)
