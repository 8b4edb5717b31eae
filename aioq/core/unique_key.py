"""The unique key of a call: two calls that mean the same have the same.

`f(1, y=2)` and `f(x=1, y=2)` mean the same, and so does a call that spells a default out.  Keys of
different tasks never meet: a caller must not be given the job of another task.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from aioq.core import codec
from aioq.core.errors import ConfigurationError, InvalidArguments
from aioq.core.holds import call_for_key, encode_key, encode_name, named
from aioq.core.unique import Unique

_LONGEST = 48
"""A key is a part of the record's field of 64 bytes, beyond which Redis stores a record worse."""


class UniqueKeys:
    """Works out the unique keys of the calls of one task.

    Args:
        task: its name.
        signature: what it accepts; None: its code is not here.
    """

    def __init__(self, task: str, signature: inspect.Signature | None) -> None:
        self._task = task
        self._signature = signature
        self._defaults: dict[str, Any] = {} if signature is None else _defaults(signature)

    def word(self, unique: Unique, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what `enqueue` is told, for a call that fits the signature.

        Raises:
            ConfigurationError: the key raised, or is none.
            InvalidArguments: an argument cannot be serialised.
        """
        tail = self._of_arguments(args, kwargs) if unique.key is None else None
        text = f"{encode_name(self._task)}:{tail or self._given(unique, args, kwargs)}"
        return unique.word(text if len(text.encode()) <= _LONGEST else _digest(text.encode()))

    def _of_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        if self._signature is None:
            message = (
                f"unique={Unique()!r}: the code of task {self._task} is not here, so its arguments "
                "cannot be compared with those of other calls; give a key: "
                'unique=Unique(key="...")'
            )
            raise ConfigurationError(message)
        bound = {**self._defaults, **self._signature.bind(*args, **kwargs).arguments}
        return _digest(codec.encode_sorted(bound, task=self._task))

    def _given(self, unique: Unique, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        key = unique.key
        if callable(key):
            what, arguments = "the key of unique", (tuple(args), dict(kwargs))
            if self._signature is not None:
                arguments = named(self._signature, args, kwargs)
            found = call_for_key(key, what, arguments, task=self._task)
        else:
            found = key
        try:
            return encode_key(found)
        except TypeError as error:
            how = "returned" if callable(unique.key) else "is wrong:"
            message = f"task {self._task}: the key of unique {how} {error}"
            raise ConfigurationError(message) from None


def _defaults(signature: inspect.Signature) -> dict[str, Any]:
    """Return the defaults that a call could also spell out."""
    found: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.default is not parameter.empty:
            try:
                codec.encode_sorted({name: parameter.default}, task="")
            except InvalidArguments:  # such as a sentinel: no call can give it
                continue
            found[name] = parameter.default
    return found


def _digest(data: bytes) -> str:
    return f"#{hashlib.blake2b(data, digest_size=12).hexdigest()}"
