"""Printing of symbolic integers: the spec's expression syntax, and a typographic form for reports.

Names of atoms take part in the canonical order, so this module only reads the structure and imports no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archgraph.ir._algebra import Dim, Num
    from archgraph.ir._monomial import Factors, Kind, Monomial

# Binding strength of what `text` prints, as in Python.
SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 6)

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def precedence(x: Num) -> int:
    """Binding strength of the outermost operator of ``text(x)``."""
    if isinstance(x, int):
        return ATOM if x >= 0 else UNARY
    if len(x.terms) > 1:
        return SUM
    ((mono, coefficient),) = x.terms.items()
    if coefficient < 0:
        return SUM  # a leading minus binds weaker than the product behind it, for a reader
    if coefficient > 1 or len(mono.factors) > 1:
        return PRODUCT
    ((atom, power),) = mono.factors
    if power > 1:
        return POWER
    return PRODUCT if atom.kind == "floordiv" else ATOM


def operand(x: Num, least: int) -> str:
    """``text(x)``, in parentheses if it binds weaker than ``least``."""
    return text(x) if precedence(x) >= least else f"({text(x)})"


def atom_text(kind: Kind, args: tuple[Num, ...]) -> str:
    """Expression syntax of a compound atom; also the name it is sorted by."""
    if kind == "floordiv":
        return f"{operand(args[0], POWER)}//{operand(args[1], POWER)}"
    if kind == "log2":
        return f"ceil(log2({text(args[0])}))"
    return f"{kind}({', '.join(map(text, args))})"


def monomial_text(factors: Factors, *, inner: bool = False) -> str:
    """Expression syntax of a product of powers; ``inner`` if it stands behind a factor or a sign."""
    if len(factors) == 1 and factors[0][1] == 1 and not inner:
        return factors[0][0].name
    return "*".join(_factor(name, power) for name, power in _names(factors))


def _names(factors: Factors) -> list[tuple[str, int]]:
    return [(f"({atom.name})" if atom.kind == "floordiv" else atom.name, power) for atom, power in factors]


def _factor(name: str, power: int) -> str:
    return name if power == 1 else f"{name}**{power}"


def _pretty_factor(name: str, power: int) -> str:
    return name if power == 1 else name + str(power).translate(_SUPERSCRIPTS)


def _sum(parts: list[tuple[int, str]]) -> str:
    """Join signed texts: ``a - b + c``."""
    first = "".join(("-" if parts[0][0] < 0 else "", parts[0][1]))
    return first + "".join(f" {'-' if sign < 0 else '+'} {body}" for sign, body in parts[1:])


def _term(mono: Monomial, coefficient: int) -> str:
    """A term without its sign."""
    size = abs(coefficient)
    if not mono.factors:
        return str(size)
    if size == 1:
        return mono.text if coefficient > 0 else monomial_text(mono.factors, inner=True)
    return f"{size}*{monomial_text(mono.factors, inner=True)}"


def by_text(item: tuple[Monomial, int]) -> tuple[bool, str]:
    return not item[0].factors, item[0].text


def _by_degree(item: tuple[Monomial, int]) -> tuple[int, tuple[str, ...]]:
    return item[0].order


def text(x: Num) -> str:
    """Expression syntax, terms sorted by name, the constant last: ``2*C*H + (H + 1)//2 - 1``."""
    if isinstance(x, int):
        return str(x)
    return _sum([(c, _term(m, c)) for m, c in sorted(x.terms.items(), key=by_text)])


def _pretty_term(mono: Monomial, coefficient: int) -> str:
    size = abs(coefficient)
    factors = [_pretty_factor(name, power) for name, power in _names(mono.factors)]
    if coefficient == 1 and len(mono.factors) == 1 and mono.factors[0][1] == 1:
        return mono.text
    return "·".join([str(size), *factors] if size != 1 or not factors else factors)


def pretty(x: Num) -> str:
    """Typographic form, terms of the highest degree first: ``2·C²·N + C·N²``."""
    if isinstance(x, int):
        return str(x)
    return _sum([(c, _pretty_term(m, c)) for m, c in _ordered(x)])


def _ordered(x: Dim) -> list[tuple[Monomial, int]]:
    return sorted(x.terms.items(), key=_by_degree)
