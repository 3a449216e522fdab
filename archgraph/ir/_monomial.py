"""Atoms and monomials, the building stones of the normal form of a symbolic integer.

An *atom* is what the polynomial algebra cannot open: a symbol, or of canonical arguments a floor division, an extremum
or a logarithm that is rounded up.
A *monomial* is a product of powers of atoms.  Both are interned: equal means identical, and hashing is by address.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from archgraph.ir._text import atom_text, monomial_text

if TYPE_CHECKING:
    from archgraph.ir._algebra import Num

Kind = Literal["symbol", "floordiv", "min", "max", "log2"]
T = TypeVar("T")

_SYMBOL = re.compile(r"[^\W\d]\w*(\.\w+)*")
_CACHE_LIMIT = 1 << 14
_MAX_NAME = 10_000
#: The peak of a network's memory is the greatest of hundreds of forms; nothing is made of it in its turn.
_MAX_EXTREMUM = 500_000
_MAX_DEGREE = 1_000


class TooLarge(ValueError):
    """An expression would grow beyond what can be computed with: no architecture needs it, a hostile spec may."""


class _Entry(weakref.ref[T]):
    """A weak reference that knows the key it is filed under."""

    __slots__ = ("key",)
    key: Hashable


class Interner(Generic[T]):
    """Weak table from a structural key to the one living object with that structure.

    ``table`` is public so that hot paths can look up without a call; misses go through :meth:`add`.
    """

    __slots__ = ("_forget", "_lock", "table")

    def __init__(self) -> None:
        self.table: dict[Hashable, _Entry[T]] = {}
        # Reentrant: a collection inside `add` may run `forget` on the same thread.
        self._lock = threading.RLock()

        # Uses no module globals: it still runs when the interpreter has taken them down.
        def forget(entry: _Entry[T]) -> None:
            with self._lock:
                if self.table.get(entry.key) is entry:
                    del self.table[entry.key]

        self._forget = forget

    def get(self, key: Hashable) -> T | None:
        """The living object under ``key``, or None."""
        entry = self.table.get(key)
        return None if entry is None else entry()

    def add(self, key: Hashable, new: T) -> T:
        """File ``new`` under ``key`` unless another thread was faster; return the object to use."""
        entry = _Entry(new, self._forget)
        entry.key = key
        if self.table.setdefault(key, entry) is entry:
            return new
        with self._lock:  # another thread's object, or one that died and is not yet forgotten
            found = self.get(key)
            if found is None:
                self.table[key] = entry
            return new if found is None else found


class Atom:
    """A symbol, ``args[0] // args[1]``, the ``min``/``max`` of ``args``, or ``ceil(log2(args[0]))``.

    ``name`` is its printed form.
    """

    __slots__ = ("__weakref__", "args", "free", "kind", "name")
    kind: Kind
    args: tuple[Num, ...]
    name: str
    free: frozenset[str]

    def __reduce__(self) -> tuple[Callable[..., Atom], tuple[object, ...]]:
        return (symbol_atom, (self.name,)) if self.kind == "symbol" else (compound_atom, (self.kind, self.args))

    def __repr__(self) -> str:
        return self.name


_ATOMS: Interner[Atom] = Interner()


def symbol_atom(name: str) -> Atom:
    """The atom of a symbol.  Raises ValueError unless ``name`` is an identifier or dotted identifiers."""
    found = _ATOMS.get(name)
    if found is not None:
        return found
    if not _SYMBOL.fullmatch(name):
        raise ValueError(f"not a symbol name: {name!r}")
    atom = Atom()
    atom.kind, atom.args, atom.name, atom.free = "symbol", (), name, frozenset((name,))
    return _ATOMS.add(name, atom)


def compound_atom(kind: Kind, args: tuple[Num, ...]) -> Atom:
    """The atom of an operation over arguments that are already canonical.  Raises TooLarge."""
    key = (kind, args)
    found = _ATOMS.get(key)
    if found is not None:
        return found
    atom = Atom()
    atom.kind, atom.args, atom.name = kind, args, atom_text(kind, args)
    longest = _MAX_EXTREMUM if kind in ("min", "max") else _MAX_NAME
    if len(atom.name) > longest:
        raise TooLarge(f"a symbolic expression is longer than {longest} characters: {atom.name[:60]}...")
    atom.free = frozenset().union(*(arg.free for arg in args if not isinstance(arg, int)))
    return _ATOMS.add(key, atom)


Factors = tuple[tuple[Atom, int], ...]


class Monomial:
    """A product of powers of atoms, factors sorted by printed name; the empty product is :data:`ONE`.

    ``order`` sorts graded-lexicographically, highest first; being compatible with products it serves polynomial
    division, and being made of names it does not depend on what was computed before.
    """

    __slots__ = ("__weakref__", "degree", "factors", "free", "order", "text")
    factors: Factors
    degree: int
    free: frozenset[str]
    order: tuple[int, tuple[str, ...]]
    text: str

    def __reduce__(self) -> tuple[Callable[..., Monomial], tuple[object, ...]]:
        return monomial, (self.factors,)

    def __repr__(self) -> str:
        return self.text


_MONOMIALS: Interner[Monomial] = Interner()
_PRODUCTS: dict[tuple[Monomial, Monomial], Monomial] = {}


def _by_name(factor: tuple[Atom, int]) -> str:
    return factor[0].name


def monomial(factors: Factors) -> Monomial:
    """The monomial with these factors, sorted by name, with powers of at least 1.  Raises TooLarge."""
    found = _MONOMIALS.get(factors)
    if found is not None:
        return found
    new = Monomial()
    new.factors = factors
    new.degree = sum(power for _, power in factors)
    if new.degree > _MAX_DEGREE:
        raise TooLarge(f"a symbolic expression has a degree above {_MAX_DEGREE}")
    new.free = frozenset().union(*(atom.free for atom, _ in factors))
    new.order = (-new.degree, tuple(atom.name for atom, power in factors for _ in range(power)))
    new.text = monomial_text(factors)
    return _MONOMIALS.add(factors, new)


ONE = monomial(())


def multiply(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials."""
    if a is ONE:
        return b
    if b is ONE:
        return a
    found = _PRODUCTS.get((a, b))
    if found is not None:
        return found
    powers = dict(a.factors)
    for atom, power in b.factors:
        powers[atom] = powers.get(atom, 0) + power
    result = monomial(tuple(sorted(powers.items(), key=_by_name)))
    if len(_PRODUCTS) >= _CACHE_LIMIT:
        _PRODUCTS.clear()
    _PRODUCTS[a, b] = result
    return result


def power(a: Monomial, exponent: int) -> Monomial:
    """``a ** exponent`` for a positive exponent."""
    return monomial(tuple((atom, p * exponent) for atom, p in a.factors))


def divide(a: Monomial, b: Monomial) -> Monomial | None:
    """The monomial ``q`` with ``q * b == a``, or None."""
    if b is ONE:
        return a
    if a is b:
        return ONE
    powers = dict(a.factors)
    for atom, p in b.factors:
        left = powers.get(atom, 0) - p
        if left < 0:
            return None
        powers[atom] = left
    return monomial(tuple((atom, p) for atom, p in powers.items() if p))


def common(monomials: list[Monomial]) -> Monomial:
    """The greatest common divisor of a non-empty list of monomials."""
    powers = dict(monomials[0].factors)
    for other in monomials[1:]:
        if not powers:
            return ONE
        theirs = dict(other.factors)
        powers = {atom: min(p, theirs[atom]) for atom, p in powers.items() if atom in theirs}
    return monomial(tuple(powers.items()))
