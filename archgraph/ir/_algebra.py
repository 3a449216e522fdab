"""Symbolic integers in canonical form: the class :class:`Dim` and its ring arithmetic.

A ``Dim`` is a polynomial ``{monomial: coefficient}`` over atoms with at least one non-constant term; constants are
plain ``int``.  It is interned on that normal form, so equal sizes are one object and ``==`` is identity:
``(H + 6 - 7)//1 + 1`` *is* ``H``.  A remainder has no atom of its own: ``a % b`` is ``a - b*(a//b)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Rational
from types import EllipsisType
from typing import Any, TypeAlias, cast

from archgraph.ir._monomial import ONE, Interner, Monomial, TooLarge, monomial, multiply, power, symbol_atom
from archgraph.ir._text import text

_CACHE_LIMIT = 1 << 14
_MAX_WORK = 1 << 18  # products of terms in one multiplication, about a second


class Dim:
    """A symbolic integer; symbols stand for integers of at least 1.

    Immutable and interned, also across pickling and copying.  Arithmetic with ``int`` and ``Dim`` gives ``int`` when
    the result is constant; with floats, proper fractions, ``/`` and symbolic exponents it gives a lazy
    :class:`archgraph.ir.real.Real`.  Comparisons and ``bool`` answer when bounds decide them, else raise
    ``SymbolicTruth``.  ``==`` is identity of polynomials; use :func:`archgraph.ir.dim.eq` where "unknown" must not
    read as "different".  Expressions too large to compute with raise ``TooLarge``.
    """

    __slots__ = ("__weakref__", "_free", "_lower", "_upper", "terms")
    terms: Mapping[Monomial, int]  # the normal form, in no particular order; shared, never to be changed
    _free: frozenset[str] | None
    _lower: int | EllipsisType | None  # `...` until asked for
    _upper: int | EllipsisType | None

    @property
    def free(self) -> frozenset[str]:
        """Names of the symbols in it."""
        if self._free is None:
            self._free = frozenset().union(*(mono.free for mono in self.terms))
        return self._free

    # Each operator first looks up its operands' identities in a bounded table: sizes recur all over a graph.

    def __add__(self, other: Num) -> Num:
        if other.__class__ is not Dim and other.__class__ is not int:
            return _foreign("+", self, other)
        key = self, other
        result = _sums.get(key)
        if result is None:
            result = _remember(_sums, key, _combine(self, 1, other, 1))
        return result

    def __radd__(self, other: Num) -> Num:
        return self + other if other.__class__ is int else _foreign("+", other, self)

    def __sub__(self, other: Num) -> Num:
        if other.__class__ is not Dim and other.__class__ is not int:
            return _foreign("-", self, other)
        key = self, other
        result = _differences.get(key)
        if result is None:
            result = _remember(_differences, key, _combine(self, 1, other, -1))
        return result

    def __rsub__(self, other: Num) -> Num:
        if other.__class__ is not int:
            return _foreign("-", other, self)
        key = other, self
        result = _differences.get(key)
        if result is None:
            result = _remember(_differences, key, _combine(self, -1, other, 1))
        return result

    def __neg__(self) -> Dim:
        return self * -1  # type: ignore[return-value]

    def __pos__(self) -> Dim:
        return self

    def __mul__(self, other: Num) -> Num:
        if other.__class__ is not Dim and other.__class__ is not int:
            return _foreign("*", self, other)
        key = self, other
        result = _products.get(key)
        if result is None:
            result = _remember(_products, key, _product(self, other))
        return result

    def __rmul__(self, other: Num) -> Num:
        return self * other if other.__class__ is int else _foreign("*", other, self)

    def __floordiv__(self, other: Num) -> Num:
        if other.__class__ is not Dim and other.__class__ is not int:
            return _foreign("//", self, other)
        return _quotient(self, other)

    def __rfloordiv__(self, other: Num) -> Num:
        if other.__class__ is not int:
            return _foreign("//", other, self)
        return _quotient(other, self)

    def __mod__(self, other: Num) -> Num:
        if other.__class__ is not Dim and other.__class__ is not int:
            return _foreign("%", self, other)
        return self - other * _quotient(self, other)

    def __rmod__(self, other: Num) -> Num:
        if other.__class__ is not int:
            return _foreign("%", other, self)
        return other - self * _quotient(other, self)

    def __pow__(self, exponent: int) -> Num:
        if exponent.__class__ is not int or exponent < 0:
            return _foreign("**", self, exponent)
        if exponent == 0:
            return 1
        if len(self.terms) == 1:
            ((mono, c),) = self.terms.items()
            return make({power(mono, exponent): c**exponent})
        result: Num = self
        for bit in f"{exponent:b}"[1:]:
            result = result * result
            if bit == "1":
                result = result * self
        return result

    def __rpow__(self, base: Any) -> Any:
        return _foreign("**", base, self)

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, int) and other and all(c % other == 0 for c in self.terms.values()):
            return make({mono: c // other for mono, c in self.terms.items()})
        return _foreign("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _foreign("/", other, self)

    def __abs__(self) -> Num:
        from archgraph.ir._division import extremum

        return extremum("max", (self, -self))

    def __lt__(self, other: Num) -> bool:
        return self._compare("lt", self, other)

    def __le__(self, other: Num) -> bool:
        return self._compare("le", self, other)

    def __gt__(self, other: Num) -> bool:
        return self._compare("lt", other, self)

    def __ge__(self, other: Num) -> bool:
        return self._compare("le", other, self)

    @staticmethod
    def _compare(kind: str, a: Any, b: Any) -> bool:
        if not isinstance(a, int | Dim) or not isinstance(b, int | Dim):
            return cast("bool", _foreign("<" if kind == "lt" else "<=", a, b))
        from archgraph.ir._cond import le, lt

        return bool((lt if kind == "lt" else le)(a, b))

    def __bool__(self) -> bool:
        from archgraph.ir._cond import ne

        return bool(ne(self, 0))

    def _refusal(self, wanted: str) -> Exception:
        from archgraph.ir._cond import SymbolicTruth

        return SymbolicTruth(f"{wanted} needs an integer, but {self} is symbolic")

    def __int__(self) -> int:
        raise self._refusal("int()")

    def __index__(self) -> int:
        raise self._refusal("an index, range or repetition")

    def __float__(self) -> float:
        raise self._refusal("float()")

    def __str__(self) -> str:
        return text(self)

    __repr__ = __str__  # shapes are tuples, and print their items by repr

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return make_items, tuple(self.terms.items())


Num: TypeAlias = int | Dim

_dims: Interner[Dim] = Interner()
_table = _dims.table
_Cache: TypeAlias = dict[tuple[Num, Num], Num]
_sums: _Cache = {}
_differences: _Cache = {}
_products: _Cache = {}
_quotients: _Cache = {}


def _remember(cache: _Cache, key: tuple[Num, Num], result: Num) -> Num:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[key] = result
    return result


def make(terms: dict[Monomial, int]) -> Num:
    """The integer with these terms, none of them zero; takes ownership of the dict."""
    key = frozenset(terms.items())
    entry = _table.get(key)
    if entry is not None:
        found = entry()
        if found is not None:
            return found
    if not terms:
        return 0
    if len(terms) == 1 and ONE in terms:
        return terms[ONE]
    new = Dim.__new__(Dim)
    new.terms, new._free, new._lower, new._upper = terms, None, ..., ...
    return _dims.add(key, new)


def make_items(*items: tuple[Monomial, int]) -> Num:
    """Unpickle."""
    return make(dict(items))


def sym(name: str) -> Dim:
    """The symbol ``name``, an integer of at least 1.  Raises ValueError if it is not a (dotted) identifier."""
    dim = make({monomial(((symbol_atom(name), 1),)): 1})
    assert isinstance(dim, Dim)
    return dim


def terms_of(x: Num) -> Mapping[Monomial, int]:
    """The normal form of any Num: ``{monomial: coefficient}``, no zeros."""
    if isinstance(x, int):
        return {ONE: x} if x else {}
    return x.terms


def _combine(a: Dim, i: int, b: Num, j: int) -> Num:
    """``i*a + j*b`` for ``i, j`` of +1 or -1."""
    total = dict(a.terms) if i == 1 else {mono: -c for mono, c in a.terms.items()}
    for mono, c in ((ONE, b),) if isinstance(b, int) else b.terms.items():
        c = total.get(mono, 0) + j * c
        if c:
            total[mono] = c
        else:
            total.pop(mono, None)
    return make(total)


def _product(a: Dim, b: Num) -> Num:
    if isinstance(b, int):
        return make({mono: c * b for mono, c in a.terms.items()}) if b else 0
    if len(a.terms) * len(b.terms) > _MAX_WORK:
        raise TooLarge(f"a product of symbolic expressions of {len(a.terms)} and {len(b.terms)} terms")
    total: dict[Monomial, int] = {}
    for m, c in a.terms.items():
        for n, d in b.terms.items():
            product = multiply(m, n)
            total[product] = total.get(product, 0) + c * d
    return make({mono: c for mono, c in total.items() if c})


def _quotient(a: Num, b: Num) -> Num:
    key = a, b
    result = _quotients.get(key)
    if result is None:
        from archgraph.ir._division import floordiv

        result = _remember(_quotients, key, floordiv(a, b))
    return result


def _foreign(op: str, a: Any, b: Any) -> Num:
    """An operator with an operand that is neither ``int`` nor ``Dim``: lazy if it is a number.

    Declared as what the operators above give where nothing is lazy.
    """
    from archgraph.ir.real import Real, binary

    # A lazy operand answers with its own reflected operator.
    return cast("Num", NotImplemented if isinstance(a, Real) or isinstance(b, Real) else binary(op, a, b))


def plain(x: Any) -> Any:
    """``x``, integers of other classes (bool, whole fractions) as ``int``."""
    if x.__class__ is Dim or x.__class__ is int or x.__class__ is float:
        return x
    return int(x.numerator) if isinstance(x, Rational) and x.denominator == 1 else x
