"""Symbolic sizes at run time: a dim as an expression over axis lengths of the values at hand.

A size is looked up among the axes, or derived from them: by its normal form (``1 + h*w``), from one axis up to a factor
and an offset (``N`` from ``1 + N``), from a finer floor division (``x//8`` from ``x//4``), or by solving an axis for it
(``W`` from ``H*W`` and ``H``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import reduce
from typing import Any, Final, NamedTuple, TypeAlias

from archgraph.ir.dim import Dim, Num, ceil_log2, dmax, dmin, lower_bound, prod, sym, terms
from archgraph.ir.types import TensorType
from archgraph.lower.plan import Step


class Axis(NamedTuple):
    """The length of one axis of a value."""

    value: Step
    axis: int


class Apply(NamedTuple):
    """A function of sizes, by its dotted name."""

    function: str
    args: tuple[Recipe, ...]


#: How to compute a size. Apart from emission, so that attempts that fail leave nothing behind.
Recipe: TypeAlias = int | Step | Axis | Apply

# Unlike the built-in `min` and `max` these neither guard on symbolic integers nor fail on fx proxies.
_FUNCTIONS: Final = {"floordiv": "operator.floordiv", "min": "torch.sym_min", "max": "torch.sym_max"}


class Sizes:
    """Finds and emits sizes, each once.

    Parameters
    ----------
    axis : callable
        Emits ``value.size(axis)``, given the value, the axis and a name.
    call : callable
        Emits ``function(*args)``, given the function's dotted name, the arguments and a name.
    """

    def __init__(
        self, axis: Callable[[Step, int, str], Step], call: Callable[[str, tuple[Any, ...], str], Step]
    ) -> None:
        self._axis = axis
        self._call = call
        self._values: list[tuple[Step, TensorType]] = []
        self._known: dict[Dim, Recipe] = {}
        self._emitted: dict[Recipe, Step] = {}

    def add(self, value: Step, of: TensorType) -> None:
        """Make a value's axes known; values added first are preferred."""
        self._values.append((value, of))

    def give(self, dim: Dim, value: Step) -> None:
        """Make a size known that is a value by itself."""
        self._known[dim] = value

    def get(self, dim: Num, operands: Iterable[tuple[Any, TensorType | None]] = ()) -> int | Step | None:
        """The size, or None if the values at hand do not tell it.

        Parameters
        ----------
        dim : int or Dim
        operands : (value, type) pairs
            Preferred to other values, since reading their sizes keeps nothing alive for longer.
        """
        if isinstance(dim, int):
            return dim
        known = self._known.get(dim)
        if not isinstance(known, Step) and known not in self._emitted:
            for value, of in operands:
                if of is not None and isinstance(value, Step) and dim in of.shape:
                    self._known[dim] = Axis(value, of.shape.index(dim))
                    break
        self._index()
        recipe = self._recipe(dim, frozenset())
        return None if recipe is None else self._emit(recipe, name_of(dim))

    def _index(self) -> None:
        for value, of in self._values:
            for axis, dim in enumerate(of.shape):
                if isinstance(dim, Dim):
                    self._known.setdefault(dim, Axis(value, axis))
        self._values.clear()

    def _emit(self, recipe: Recipe, name: str) -> int | Step:
        if isinstance(recipe, (int, Step)):
            return recipe
        found = self._emitted.get(recipe)
        if found is None:
            if isinstance(recipe, Axis):
                found = self._axis(recipe.value, recipe.axis, name)
            else:
                found = self._call(recipe.function, tuple(self._emit(arg, "size") for arg in recipe.args), name)
            self._emitted[recipe] = found
        return found

    # -- search: each way returns None where it does not apply -----------------------------------------------------

    def _recipe(self, dim: Num, busy: frozenset[Dim]) -> Recipe | None:
        """How to compute ``dim`` without those in ``busy``, which are being looked for."""
        if isinstance(dim, int):
            return dim
        if dim in self._known:
            return self._known[dim]
        if dim in busy:
            return None
        busy |= {dim}
        atom = _atom_of(dim)
        ways = (self._affine, self._terms) if atom is None else (self._affine, self._compound, self._solved)
        for way in ways:
            found = way(dim, busy)
            if found is not None:
                return found
        return None

    def _affine(self, dim: Dim, busy: frozenset[Dim]) -> Recipe | None:
        """``(n * axis + c) // d`` where that division is exact."""
        wanted = {mono: c for mono, c in terms(dim).items() if mono.factors}
        for other, axis in self._known.items():
            known = {mono: c for mono, c in terms(other).items() if mono.factors}
            if known.keys() != wanted.keys():
                continue
            ratios = {Fraction(c, known[mono]) for mono, c in wanted.items()}
            if len(ratios) == 1:
                n, d = ratios.pop().as_integer_ratio()
                return _divided(_plus(_times(axis, n), dim * d - other * n), d)
        return None

    def _terms(self, dim: Dim, busy: frozenset[Dim]) -> Recipe | None:
        """The normal form, term by term."""
        parts: list[tuple[int, Recipe]] = []
        for mono, coefficient in sorted(terms(dim).items(), key=lambda term: (term[1] < 0, term[0].order)):
            part = self._product(dict(mono.factors), busy)
            if part is None:
                return None
            parts.append((coefficient, part))
        sign, first = parts[0]
        total = _times(first, sign)
        for coefficient, part in parts[1:]:
            total = _plus(total, _times(part, abs(coefficient)), minus=coefficient < 0)
        return total

    def _product(self, powers: dict[Any, int], busy: frozenset[Dim]) -> Recipe | None:
        """A product of powers of atoms: by axes that divide it, then atom by atom."""
        parts: list[Recipe] = []
        for other, axis in self._known.items():
            ((mono, coefficient), *more) = terms(other).items()
            if more or coefficient != 1 or mono.degree < 2:
                continue
            while all(powers.get(atom, 0) >= power for atom, power in mono.factors):
                powers |= {atom: powers[atom] - power for atom, power in mono.factors}
                parts.append(axis)
        for atom, power in powers.items():
            if power:
                part = self._recipe(_dim_of(atom), busy)
                if part is None:
                    return None
                parts += [part] * power
        return reduce(_times, parts) if parts else 1

    def _compound(self, dim: Dim, busy: frozenset[Dim]) -> Recipe | None:
        """A floor division or an extremum, from its arguments."""
        atom = _atom_of(dim)
        if atom.kind in ("symbol", "log2"):
            return None
        if atom.kind == "floordiv" and isinstance(atom.args[1], int):
            for other, axis in self._known.items():
                finer = _atom_of(other)
                if finer is not None and finer.kind == "floordiv" and finer.args[0] == atom.args[0]:
                    factor, rest = _divmod(atom.args[1], finer.args[1])
                    if rest == 0:
                        return _divided(axis, factor)
        parts = [self._recipe(arg, busy) for arg in atom.args]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return reduce(lambda a, b: Apply(_FUNCTIONS[atom.kind], (a, b)), known)

    def _solved(self, dim: Dim, busy: frozenset[Dim]) -> Recipe | None:
        """``(axis - rest) // slope`` where the axis is ``slope * dim + rest``."""
        atom = _atom_of(dim)
        for other, axis in self._known.items():
            slope: Num = 0
            rest: Num = 0
            for mono, coefficient in terms(other).items():
                powers = dict(mono.factors)
                with_atom = powers.pop(atom, 0)
                cofactor = prod(_dim_of(a) ** power for a, power in powers.items()) * coefficient
                if with_atom == 0:
                    rest = rest + cofactor
                elif with_atom == 1:
                    slope = slope + cofactor
                else:
                    break
            else:
                low = lower_bound(slope)
                if low is None or low < 1:
                    continue
                divisor, offset = self._recipe(slope, busy), self._recipe(rest, busy)
                if divisor is not None and offset is not None:
                    return _divided(_plus(axis, offset, minus=True), divisor)
        return None


def name_of(dim: Num) -> str:
    """A name for the value of a dim: its own if it is a symbol."""
    text = str(dim)
    return text.lower() if re.fullmatch(r"[A-Za-z_]\w*", text) else "size"


def _atom_of(dim: Dim) -> Any:
    """The atom that a dim is, or None for sums, products and multiples."""
    ((mono, coefficient), *more) = terms(dim).items()
    if more or coefficient != 1 or mono.degree != 1:
        return None
    return mono.factors[0][0]


def _dim_of(atom: Any) -> Num:
    match atom.kind:
        case "symbol":
            return sym(atom.name)
        case "floordiv":
            quotient: Num = atom.args[0] // atom.args[1]
            return quotient
        case "min":
            return dmin(*atom.args)
        case "log2":
            return ceil_log2(atom.args[0])
        case _:
            return dmax(*atom.args)


def _divmod(a: int, b: Num) -> tuple[int, int]:
    return divmod(a, b) if isinstance(b, int) else (0, 1)


def _times(a: Recipe, b: Recipe) -> Recipe:
    if isinstance(a, int):
        a, b = b, a
    return a if b == 1 else Apply("operator.mul", (a, b))


def _plus(a: Recipe, b: Any, minus: bool = False) -> Recipe:
    if isinstance(b, int) and b < 0:
        b, minus = -b, not minus
    return a if b == 0 else Apply("operator.sub" if minus else "operator.add", (a, b))


def _divided(a: Recipe, b: Recipe) -> Recipe:
    return a if b == 1 else Apply("operator.floordiv", (a, b))
