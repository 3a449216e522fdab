"""From what stands on the command line to specs and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archgraph.cli.console import fail

if TYPE_CHECKING:
    from archgraph.report.compare import Range
    from archgraph.spec.load import Spec


def use_plugins(plugins: Sequence[str] | None) -> None:
    """Import the modules given by ``--plugin``, so that their ops are known.

    Raises
    ------
    SpecError
        If one can't be imported.
    """
    if plugins:
        from archgraph.ops.plugins import use

        for plugin in plugins:
            use(plugin)


def read_settings(texts: Sequence[str] | None) -> dict[str, str]:
    """The settings of ``--set name=value``.

    Raises
    ------
    SpecError
        For a text without ``=``.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            fail("set/form", f"`--set {text}` says no value", expected="--set name=value")
        found[name.strip()] = value
    return found


def read_names(text: str) -> dict[str, list[str] | list[int] | None]:
    """The names of ``--symbolic dim,depth=1:24,pool=cls|mean`` with the values that some are given.

    Raises
    ------
    SpecError
        For a range that is none, or of more values than are tried.
    """
    from archgraph.report.enumerated import MAX_VALUES

    found: dict[str, list[str] | list[int] | None] = {}
    for part in text.split(","):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not name:
            continue
        low, colon, high = values.partition(":")
        if not equals:
            found[name] = None
        elif colon:
            if not (low.isdecimal() and high.isdecimal()) or not 0 <= int(high) - int(low) < MAX_VALUES:
                wanted = f"{name}=1:24, low to high, at most {MAX_VALUES} values"
                fail("symbolic/range", f"`{part.strip()}` is no range", expected=wanted)
            found[name] = list(range(int(low), int(high) + 1))
        else:
            found[name] = [value.strip() for value in values.split("|")]
    return found


def split_variant(text: str) -> tuple[str, str | None]:
    """Name and variant of ``vit:base``; a path that has a colon itself stays whole."""
    import os

    name, colon, variant = text.rpartition(":")
    if not colon or not name or os.path.exists(text) or "/" in variant or "\\" in variant:
        return text, None
    return name, variant


def open_specs(
    texts: Sequence[str], variants: Sequence[str] | None = None, settings: Sequence[str] | None = None
) -> list[Spec]:
    """A spec for every text and variant.

    Raises
    ------
    SpecError
        With every fault of the first spec that has any.
    """
    from archgraph.analysis.sizes import with_params
    from archgraph.spec.load import load

    values = read_settings(settings)
    found: list[Spec] = []
    for text in texts:
        name, variant = split_variant(text)
        if variant is not None and variants:
            fail("variant/twice", f"`{text}` names a variant already")
        chosen = variants if variants and variant is None else [variant]
        found += [with_params(load(name, each), values) for each in chosen]
    return found


def read_at(texts: Sequence[str] | None, spec: Spec, graph: str | None) -> dict[str, Any]:
    """The shapes of ``--at``.

    Raises
    ------
    SpecError
        For unknown inputs and unreadable sizes.
    """
    if not texts:
        return {}
    from archgraph.analysis.sizes import parse_at

    return dict(parse_at(texts, spec.block(graph).inputs))


def read_range(text: str) -> Range:
    """The name and bounds of ``--over``.

    Raises
    ------
    SpecError
        Where it has another form.
    """
    from archgraph.report.compare import Range

    name, equals, bounds = text.partition("=")
    low, colon, high = bounds.partition(":")
    numbers = low.isdecimal() and high.isdecimal() and low.isascii() and high.isascii()
    if not equals or not colon or not numbers or not 1 <= int(low) < int(high) < 2**40:
        fail("over/form", f"`--over {text}` is no range", expected="--over N=64:65536, low to high")
    return Range(name.strip(), int(low), int(high))
