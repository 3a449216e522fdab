"""Kinds of attribute values: how a YAML value is read, converted, described and drawn.

A kind says in which *slot* the value stands:

``expr``
    numbers, booleans and expressions; a string is an expression unless it is one of the kind's ``words``.
``text``
    a literal string; ``$name`` passes a text param on.
``tree``
    a nested value whose strings are words at the top and expressions inside (``init: {normal: {std: 0.02}}``).
``formula``
    an expression that is kept as a tree, its host names replaced by their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from archgraph.ir.density import density_of
from archgraph.ir.dim import Dim
from archgraph.ir.real import Late, NeedsValue, Real


class AttributeValueError(Exception):
    """A value does not fit its attribute; the text says what is expected."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(f"expected {expected}, found {show(found)}")
        self.expected = expected
        self.found = show(found)


def show(value: object) -> str:
    """A value as a user writes it."""
    if value is None:
        return "null"
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        # Stock YAML takes `1e-05` for text: a mantissa has a point.
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}e{int(exponent)}" if e else mantissa
    return str(value)


class Kind:
    """One kind of attribute value."""

    slot: ClassVar[str] = "expr"
    words: tuple[str, ...] = ()
    expected: str = "a value"

    def convert(self, value: Any) -> Any:
        """The canonical, hashable form of ``value``.

        Raises
        ------
        AttributeValueError
            If the value does not fit.
        NeedsValue
            If it is bound too late for this attribute.
        """
        raise AttributeValueError(self.expected, value)

    def written(self, value: Any) -> Any:
        """A YAML value that `convert` takes to the canonical ``value``."""
        return [self.written(v) for v in value] if isinstance(value, tuple) else value

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the YAML value."""
        return {}

    def __repr__(self) -> str:
        return self.expected


_EXPRESSION: Final[dict[str, Any]] = {"$ref": "#/$defs/expression"}


class IntKind(Kind):
    """A whole number or a symbolic dim, at least ``low``."""

    def __init__(self, low: int | None = None) -> None:
        self.low = low
        self.expected = "a whole number" if low is None else f"a whole number of at least {low}"

    def convert(self, value: Any) -> Any:
        if type(value) is int:
            if self.low is not None and value < self.low:
                raise AttributeValueError(self.expected, value)
            return value
        if isinstance(value, Dim):
            return value
        if isinstance(value, float) and value.is_integer():
            return self.convert(int(value))
        if isinstance(value, (Late, Real)):
            raise NeedsValue(value)
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        number: dict[str, Any] = {"type": "integer"}
        if self.low is not None:
            number["minimum"] = self.low
        return {"anyOf": [number, _EXPRESSION]}


class FloatKind(Kind):
    """A real number; may stay a late-bound expression where the attribute is inert."""

    expected = "a number"

    def convert(self, value: Any) -> Any:
        if type(value) is float or isinstance(value, (Late, Real, Dim)):
            return value
        if type(value) is int:
            return float(value)
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, _EXPRESSION]}


class DensityKind(FloatKind):
    """A share of elements: a number from 0 to 1, or a ratio of sizes, which may be symbolic."""

    expected = "a number from 0 to 1, or a ratio of sizes"

    def convert(self, value: Any) -> Any:
        found = super().convert(value)
        if density_of(found) is None:
            raise AttributeValueError(self.expected, value)
        return found


class BoolKind(Kind):
    """true or false."""

    expected = "true or false"

    def convert(self, value: Any) -> Any:
        if value is True or value is False:
            return value
        if isinstance(value, (Late, Real)):
            raise NeedsValue(value)
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, _EXPRESSION]}


class WordKind(Kind):
    """One of a few literal words."""

    slot = "text"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.expected = "one of " + ", ".join(words)

    def convert(self, value: Any) -> Any:
        if value in self.words:
            return value
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.words)}, {"type": "string", "pattern": r"^\$[A-Za-z_]\w*$"}]}


class TextKind(Kind):
    """A literal text (an einops pattern, for example)."""

    slot = "text"
    expected = "a text"

    def convert(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class IntsKind(Kind):
    """``n`` whole numbers; a single one stands for all (torch's int-or-tuple)."""

    def __init__(self, n: int, low: int | None = None, words: tuple[str, ...] = (), none: bool = False) -> None:
        self.n = n
        self.item = IntKind(low)
        self.words = words
        self.none = none
        also = "".join(f", or {w}" for w in words)
        many = "a list of one" if n == 1 else f"{n} of them"
        self.expected = f"{self.item.expected}, or {many}{also}"

    def convert(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.words:
            return value
        if isinstance(value, (list, tuple)):
            if len(value) != self.n:
                raise AttributeValueError(self.expected, value)
            return tuple(None if self.none and v is None else self.item.convert(v) for v in value)
        return (self.item.convert(value),) * self.n

    def written(self, value: Any) -> Any:
        alike = isinstance(value, tuple) and value[0] is not None and all(v == value[0] for v in value)
        return value[0] if alike else super().written(value)

    def schema(self) -> dict[str, Any]:
        one = self.item.schema()
        items: dict[str, Any] = {"anyOf": [one, {"type": "null"}]} if self.none else one
        return {
            "anyOf": [
                *one["anyOf"],
                {"type": "array", "items": items, "minItems": self.n, "maxItems": self.n},
                *([{"enum": list(self.words)}] if self.words else []),
            ]
        }


class ListKind(Kind):
    """A list of values of one kind, of any length."""

    def __init__(self, item: Kind, scalar: bool = False) -> None:
        self.item = item
        self.scalar = scalar
        self.expected = f"a list, each {item.expected}"

    def convert(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, range)):
            return tuple([self.item.convert(v) for v in value])
        if self.scalar:
            return (self.item.convert(value),)
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        many = {"type": "array", "items": self.item.schema()}
        one = self.item.schema() if self.scalar else _EXPRESSION
        return {"anyOf": [many, one]}


class OptionalKind(Kind):
    """null, or a value of another kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item
        self.slot = item.slot  # type: ignore[misc]  # a wrapper stands in its item's slot
        self.words = item.words
        self.expected = f"{item.expected}, or null"

    def convert(self, value: Any) -> Any:
        return None if value is None else self.item.convert(value)

    def written(self, value: Any) -> Any:
        return None if value is None else self.item.written(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(), {"type": "null"}]}


class NestedKind(Kind):
    """Numbers in lists of lists, for literal constants."""

    expected = "a number or nested lists of numbers"

    def convert(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, range)):
            return tuple(self.convert(v) for v in value)
        if isinstance(value, (bool, int, float, Dim, Real, Late)):
            return value
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["number", "boolean", "array"]}, _EXPRESSION]}


class FormulaKind(Kind):
    """An expression over values, kept as a tree."""

    slot = "formula"
    expected = "a formula"

    def convert(self, value: Any) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, {"type": "string"}]}


class MapKind(Kind):
    """A mapping from names to values of one kind; its order is its meaning."""

    def __init__(self, item: Kind) -> None:
        self.item = item
        self.expected = f"a mapping from names, each {item.expected}"

    def convert(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple((str(k), self.item.convert(v)) for k, v in value.items())
        if isinstance(value, tuple) and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            return tuple((k, self.item.convert(v)) for k, v in value)
        raise AttributeValueError(self.expected, value)

    def written(self, value: Any) -> Any:
        return {k: self.item.written(v) for k, v in value}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.schema()}


#: Initialisers and their arguments with defaults (``torch.nn.init``'s words).
INITIALISERS: Final[dict[str, dict[str, float | None]]] = {
    "zeros": {},
    "ones": {},
    "constant": {"val": None},
    "normal": {"mean": 0.0, "std": 1.0},
    "trunc_normal": {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    "uniform": {"a": 0.0, "b": 1.0},
    "xavier_uniform": {"gain": 1.0},
    "xavier_normal": {"gain": 1.0},
    "kaiming_uniform": {"a": 0.0, "fan": 0.0},
    "kaiming_normal": {"a": 0.0, "fan": 0.0},
    "orthogonal": {"gain": 1.0},
    "eye": {},
    "dirac": {},
    "geometric": {"start": 1.0, "ratio": None},
}

#: Laws that look at a tensor's axes; ``stack`` leading axes of these hold tensors drawn one by one.
STACKED: Final = frozenset(
    {"xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "eye", "dirac"}
)

Init = tuple[str, tuple[tuple[str, Any], ...]]


class InitKind(Kind):
    """How a weight starts: ``zeros`` or ``{normal: {std: 0.02}}``.

    ``fan`` of the Kaiming laws is 0 for fan_in and 1 for fan_out; their gain is that of leaky ReLU with slope ``a``
    (``a: 0`` is ReLU), as in ``torch.nn.init``. ``geometric`` is ``start * ratio ** k`` over all elements in order,
    as the frequencies of rotary positions are. Laws of a tensor's axes take ``stack`` too: so many leading axes hold
    tensors of their own, each drawn by itself (the memories of several heads).
    """

    slot = "tree"
    words = tuple(name for name, args in INITIALISERS.items() if None not in args.values())
    expected = "an initialiser (" + ", ".join(INITIALISERS) + ")"

    def convert(self, value: Any) -> Init:
        if isinstance(value, str):
            value = {value: {}}
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = {value[0]: dict(value[1])}
        if not isinstance(value, Mapping) or len(value) != 1:
            raise AttributeValueError(self.expected, value)
        name, given = next(iter(value.items()))
        if name not in INITIALISERS:
            raise AttributeValueError(self.expected, name)
        known = INITIALISERS[name]
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            if len(known) != 1:
                raise AttributeValueError(f"a mapping of {', '.join(known) or 'nothing'} under {name}", given)
            given = {next(iter(known)): given}
        unknown = [k for k in given if k not in known and not (k == "stack" and name in STACKED)]
        if unknown:
            raise AttributeValueError(f"{name} to take {', '.join(known) or 'nothing'}", unknown[0])
        merged = {**known, **given}
        missing = [k for k, v in merged.items() if v is None]
        if missing:
            raise AttributeValueError(f"{name} to say {missing[0]}", given)
        return name, tuple((k, _NUMBER.convert(v)) for k, v in merged.items())

    def written(self, value: Init) -> Any:
        name, args = value
        known = INITIALISERS[name]
        own = {k: v for k, v in args if v != known.get(k, 0)}
        return {name: own} if own else name

    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"enum": list(self.words)},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {
                        name: {
                            "type": ["object", "number", "string"],
                            "properties": {k: _NUMBER.schema() for k in (*args, *["stack"] * (name in STACKED))},
                            "additionalProperties": False,
                        }
                        for name, args in INITIALISERS.items()
                    },
                },
            ]
        }


_NUMBER: Final = FloatKind()

INT: Final = IntKind()
SIZE: Final = IntKind(1)
COUNT: Final = IntKind(0)
FLOAT: Final = FloatKind()
DENSITY: Final = DensityKind()
BOOL: Final = BoolKind()
TEXT: Final = TextKind()
SHAPE: Final = ListKind(COUNT)
INIT: Final = InitKind()
DTYPE: Final = WordKind(
    "float", "float32", "float64", "float16", "bfloat16", "complex", "int64", "int32", "int8", "uint8", "bool"
)

Converter = Callable[[Any], Any]
