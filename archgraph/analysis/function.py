"""Cost as a compiled function of hyperparameters: millions of candidates a second, exact, guards decided."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING, Any, Final, TypeVar

from archgraph.analysis.cases import Cases
from archgraph.analysis.law import RESULTS, TICKS, Entry, Law, place
from archgraph.analysis.profiles import DeviceProfile, load_profile
from archgraph.analysis.program import INT64
from archgraph.analysis.roofline import TIMES, Target, target, times_of
from archgraph.analysis.sizes import with_params
from archgraph.analysis.symbolic import base_point, open_names
from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.spec.load import Spec, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")
_PROBES: Final = 24  # choice vectors that are tried to see whether a symbol will do
_OPEN: Final = object()  # in place of a value: the hyperparameter stays a symbol


class CostFunction:
    """``f(dim=array, depth=array)``: params, macs, flops, activation_bytes and valid of many candidates at once.

    Made by `cost_function`. Call it with a column per name in ``names``; columns broadcast, and single values may
    stand for columns. A list hyperparameter takes an array with a last axis of its entries.

    Attributes
    ----------
    names : tuple of str
        The hyperparameters and sizes that it takes, as they were asked for.
    columns : tuple of str
        The same with lists taken apart: ``depths.0``, ``depths.1`` …
    choices : mapping of str to tuple
        Names that take one of listed values, and those values. `by_code` takes their numbers in the list instead.
    on : Target or None
        The device that times are for.
    """

    def __init__(
        self,
        spec: Spec,
        graph: str | None,
        at: Mapping[str, Any] | None,
        over: Mapping[str, Any],
        on: Target | None = None,
    ) -> None:
        self.spec = spec
        self.on = on
        self.graph = graph
        self.at = dict(at or {})
        known = open_names(spec, graph)
        self.names = tuple(over)
        self.choices: dict[str, tuple[Any, ...]] = {}
        self._entries: dict[str, int] = {}
        columns: list[str] = []
        for name, values in over.items():
            kind = _checked(spec, known, name)
            given = _values(spec, name, kind, values)
            if given is not None:
                self.choices[name] = given
            if kind == "list" and given is None:
                self._entries[name] = len(spec.params()[name])
                columns += [f"{name}.{k}" for k in range(self._entries[name])]
            else:
                columns.append(name)
        self.columns = tuple(columns)
        self._laws: dict[tuple[int, ...], Law] = {}
        self._options = self._plan()

    # -- which are symbols -------------------------------------------------------------------------------------------

    def _plan(self) -> dict[str, tuple[Any, ...]]:
        """What each listed name is elaborated with: its values one by one, or a symbol for those of 1 and more.

        As few as possible are taken one by one: where structure hangs on a value (`when: depth > 4`) symbols fail.
        """
        whole = [n for n, values in self.choices.items() if all(map(_is_int, values)) and max(values) >= 1]

        def with_open(names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
            names = set(names)
            return {
                name: (*(v for v in values if v < 1), _OPEN) if name in names else values
                for name, values in self.choices.items()
            }

        everything = with_open(whole)
        first = self._fault(everything)
        if first is None:
            return everything
        # what can't be a symbol by itself can't be one beside others
        able = [name for name in whole if self._opens(with_open([name]))]
        for n in range(len(able) == len(whole), len(able) + 1):
            plans = [with_open(names) for names in combinations(able, len(able) - n)]
            plans.sort(key=lambda options: prod(map(len, options.values())))
            for options in plans:
                if self._fault(options) is None:
                    return options
        raise first

    def _opens(self, options: Mapping[str, tuple[Any, ...]]) -> bool:
        """Whether the symbols of a plan will do at one of its choice vectors."""
        try:
            self._probe({name: values[-1] for name, values in options.items()})
        except SpecError:
            return False
        return True

    def _fault(self, options: Mapping[str, tuple[Any, ...]]) -> SpecError | None:
        """Why a plan won't do, judged by some of its choice vectors: all values occur, one at a time."""
        base = {name: values[-1] for name, values in options.items()}
        probes = [base] + [{**base, name: v} for name, values in options.items() for v in values[:-1]]
        first: SpecError | None = None
        works = False
        for chosen in probes[:_PROBES]:
            try:
                entry = self._probe(chosen)
            except SpecError as error:
                return error
            works = works or entry.costs is not None
            first = first or entry.case.error
        return None if works else first

    def _probe(self, chosen: Mapping[str, Any]) -> Entry:
        """The case of a choice vector at the largest values of its symbols."""
        law = self._open(chosen)
        own = base_point(law.cases.spec, law.cases.names, self.graph, self.at)
        return law.find([max(self.choices[n]) if chosen.get(n) is _OPEN else own.get(n, 0) for n in self.columns])

    def _open(self, chosen: Mapping[str, Any]) -> Law:
        settings: dict[str, Any] = {}
        lists = self.spec.params()
        for name, value in chosen.items():
            if value is _OPEN:
                continue
            whole, _, k = name.rpartition(".")
            if name in self.spec.file.params:
                settings[name] = value
            else:  # an entry of a list
                entries = list(settings.get(whole, lists[whole]))
                entries[int(k)] = value
                settings[whole] = entries
        opened = [name for name in self.names if chosen.get(name, _OPEN) is _OPEN]
        return Law(Cases(with_params(self.spec, settings), opened, self.graph, self.at), self.columns, self.on)

    def law(self, **choices: Any) -> Law:
        """The law for a choice of values."""
        return self._law(tuple(self._option(name, choices[name]) for name in self.choices))

    def _law(self, key: tuple[int, ...]) -> Law:
        found = self._laws.get(key)
        if found is None:
            options = zip(self.choices, key, strict=True)
            found = self._laws[key] = self._open({name: self._options[name][k] for name, k in options})
        return found

    def _option(self, name: str, value: Any) -> int:
        options = self._options[name]
        for k, option in enumerate(options):
            if option is not _OPEN and option == value and isinstance(option, bool) == isinstance(value, bool):
                return k
        if options[-1] is _OPEN and value in self.choices[name]:
            return len(options) - 1
        raise ValueError(f"`{name}` is one of {', '.join(map(str, self.choices[name]))}, not {value!r}")

    # -- evaluation --------------------------------------------------------------------------------------------------

    def __call__(self, **columns: Any) -> dict[str, NDArray[Any]]:
        """Costs of all candidates: a value per name, or an array of values.

        Returns
        -------
        dict
            Arrays ``params``, ``macs``, ``flops``, ``activation_bytes`` (int64; Python ints where one does not fit)
            and ``valid`` (bool). Costs of candidates that are not valid mean nothing. With a device also float64
            ``roofline``, ``roofline_op_by_op`` (seconds) and, where its profile tells, ``energy`` (joules).

        Raises
        ------
        TypeError, ValueError
            For names missing or unknown, values that are no integers, are below 1, or stand in no list of choices.
        """
        return self._listing(lambda: self._run(columns, coded=False))

    def by_code(self, **columns: Any) -> dict[str, NDArray[Any]]:
        """`__call__` where names of ``choices`` take numbers of values in their lists, from 0."""
        return self._listing(lambda: self._run(columns, coded=True))

    def _listing(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns; where a symbol turns out to be in the way, with all listed values one by one."""
        try:
            return ask()
        except SpecError as error:
            listed = all(_OPEN not in values for values in self._options.values())
            if listed or all(d.code != "expr/undecided" for d in error.diagnostics):
                raise
        self._options = dict(self.choices)
        self._laws.clear()
        return ask()

    def scalar(self, **values: Any) -> dict[str, Any]:
        """Costs of one candidate, as Python ints, by plain Python: a microsecond for most specs.

        Raises
        ------
        TypeError, ValueError
            As for a call.
        """
        flat, entry = self._listing(lambda: self._point(values))
        if entry.costs is None:
            empty: dict[str, Any] = dict.fromkeys(self._names, 0)
            return self._timed({**empty, "valid": False})
        return self._timed(entry.costs.scalar(flat))

    @property
    def _names(self) -> tuple[str, ...]:
        return RESULTS if self.on is None else (*RESULTS, *TICKS)

    def _timed(self, found: dict[str, Any]) -> dict[str, Any]:
        """What is told: times in place of the counts that they are made of."""
        if self.on is None:
            return found
        kept = {name: value for name, value in found.items() if name not in TICKS}
        return {**kept, **times_of(found, self.on)}

    def why(self, **values: Any) -> list[str]:
        """What is wrong with a candidate; nothing if it is valid."""
        flat, entry = self._listing(lambda: self._point(values))
        if entry.case.error is not None:
            return [d.message for d in entry.case.error.diagnostics]
        env = dict(zip(self.columns, flat, strict=True))
        found = []
        for guard in entry.guards:
            try:
                held = guard.cond.evaluate(env)
            except ZeroDivisionError:
                held = False
            if not held:
                found.append(str(guard))
        return found

    def _point(self, values: Mapping[str, Any]) -> tuple[list[int], Entry]:
        """The values of a candidate's columns, and its case."""
        self._names_known(values)
        key = tuple([self._option(name, values[name]) for name in self.choices])
        flat: list[Any] = []
        for name in self.names:
            flat.extend(values[name] if name in self._entries else (values[name],))
        if self._entries and len(flat) != len(self.columns):
            raise ValueError(f"lists have {', '.join(f'{n}: {k}' for n, k in self._entries.items())} entries")
        for k, (name, value) in enumerate(zip(self.columns, flat, strict=True)):
            if name in self.choices:
                flat[k] = int(value) if _is_int(value) else 0
                continue
            if not _is_int(value) or value < 1:
                raise ValueError(_refusal(name, value))
            flat[k] = int(value)
        return flat, self._law(key).find(flat)

    def _names_known(self, given: Iterable[str]) -> None:
        given = set(given)
        unknown = [name for name in given if name not in self.names]
        missing = [name for name in self.names if name not in given]
        if unknown or missing:
            parts = [f"takes no `{name}`" for name in sorted(unknown)] + [f"needs `{name}`" for name in missing]
            raise TypeError(f"the cost of {self.spec.label} {', '.join(parts)}")

    def _run(self, given: Mapping[str, Any], *, coded: bool) -> dict[str, NDArray[Any]]:
        import numpy as np

        self._names_known(given)
        codes: dict[str, NDArray[Any]] = {}
        flat: dict[str, NDArray[Any]] = {}
        for name in self.names:
            if name in self.choices:
                array, codes[name] = self._chosen(name, given[name], coded)
                flat[name] = array
                continue
            array = np.asarray(given[name])
            if array.dtype == object and not all(map(_is_int, array.flat)):
                raise ValueError(f"`{name}` takes integers")
            if array.dtype.kind not in "iuO":
                raise ValueError(f"`{name}` takes integers, not {array.dtype}")
            if array.dtype == np.uint64:
                array = array.astype(object) if array.size and array.max() > INT64 else array.astype(np.int64)
            if array.size and array.min() < 1:
                raise ValueError(_refusal(name, array.min()))
            if name in self._entries:
                if array.ndim == 0 or array.shape[-1] != self._entries[name]:
                    raise ValueError(f"`{name}` is a list of {self._entries[name]}: give a last axis of that length")
                flat.update((f"{name}.{k}", array[..., k]) for k in range(self._entries[name]))
            else:
                flat[name] = array
        shape = np.broadcast_shapes(*(a.shape for a in flat.values()))
        columns = [np.broadcast_to(flat[name], shape).reshape(-1) for name in self.columns]
        chosen = [np.broadcast_to(codes[name], shape).reshape(-1) for name in self.choices]
        found = self._timed(self._by_case(columns, chosen, prod(shape)))
        kinds = {name: np.float64 for name in found if name in TIMES}
        return {name: a.astype(kinds.get(name, a.dtype), copy=False).reshape(shape) for name, a in found.items()}

    def _chosen(self, name: str, given: Any, coded: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of a column of a listed name: its values where they are integers (else 0), and which option each takes."""
        import numpy as np

        values = self.choices[name]
        whole = all(map(_is_int, values))
        if coded:
            codes = np.asarray(given)
            if codes.dtype.kind not in "iu":
                raise ValueError(f"`{name}` takes numbers of values in its list")
            if codes.size and (codes.min() < 0 or codes.max() >= len(values)):
                raise ValueError(f"`{name}` has {len(values)} values, numbered from 0")
        else:
            if not whole and not all(isinstance(v, (str, bool, int, float)) for v in values):
                raise ValueError(f"values of `{name}` are no plain values; give their numbers to `by_code`")
            array = np.asarray(given)
            codes = np.full(array.shape, -1)
            for k, v in enumerate(values):
                if isinstance(v, bool) == (array.dtype == bool) and isinstance(v, str) == (array.dtype.kind == "U"):
                    codes[array == v] = k
            if codes.size and codes.min() < 0:
                raise ValueError(f"`{name}` is one of {', '.join(map(str, values))}, not {array[codes < 0].flat[0]!r}")
        options = np.array([self._option(name, v) for v in values])
        numbers = np.array(values if whole else [0] * len(values))
        return numbers[codes], options[codes]

    def _by_case(self, columns: list[Any], chosen: list[Any], rows: int) -> dict[str, NDArray[Any]]:
        import numpy as np

        key = np.zeros(rows if chosen else 0, np.int64)
        sizes = [len(self._options[name]) for name in self.choices]
        for codes, size in zip(chosen, sizes, strict=True):
            key = key * size + codes
        if not key.size or key.min() == key.max():
            return self._law(tuple(int(codes[0]) if rows else 0 for codes in chosen)).run(columns, rows)
        out: dict[str, Any] = {name: np.zeros(rows, np.int64) for name in self._names}
        out["valid"] = np.zeros(rows, bool)
        for number in np.unique(key):
            where = np.flatnonzero(key == number)
            law = self._law(tuple(int(codes[where[0]]) for codes in chosen))
            place(out, where, law.run([c[where] for c in columns], len(where)))
        return out


def _is_int(value: Any) -> bool:
    return type(value) is int or (not isinstance(value, (bool, float, str)) and hasattr(value, "__index__"))


def _refusal(name: str, value: Any) -> str:
    return (
        f"`{name}` stands for whole numbers from 1, not {value!r}; list its values (`over={{'{name}': [0, 1, 2]}}`) "
        "if others occur"
    )


def _checked(spec: Spec, known: Mapping[str, str], name: str) -> str:
    """What kind of name it is: as `open_names` says, or ``choice``."""
    if name in known:
        return known[name]
    if name in spec.file.params:
        return "choice"
    near = did_you_mean(name, [*spec.file.params, *known])
    raise SpecError(
        Diagnostic(
            "over/unknown",
            None,
            f"`{spec.name}` has no hyperparameter or size `{name}`",
            expected=", ".join(dict.fromkeys([*spec.file.params, *known])),
            hint=f"did you mean `{near}`?" if near else None,
        )
    )


def _values(spec: Spec, name: str, kind: str, given: Iterable[Any] | None) -> tuple[Any, ...] | None:
    """The listed values of a name; None where it runs over the integers from 1."""
    if given is not None:
        values = tuple(given)
        if not values:
            raise ValueError(f"`{name}` has no values to choose from")
        if kind in ("size", "axis") and not all(_is_int(v) and v >= 1 for v in values):
            raise ValueError(f"`{name}` takes whole numbers from 1")
        return None if kind in ("size", "axis") else values
    p = spec.file.params.get(name)
    if p is not None and p.choices:
        return tuple(p.choices)
    if kind != "choice":
        return None
    value = spec.params()[name]
    if isinstance(value, bool):
        return False, True
    raise SpecError(
        Diagnostic(
            "over/values",
            None,
            f"`{name}` is not a whole number, so its values must be listed",
            expected=f"over={{'{name}': [{value}, …]}}",
        )
    )


def cost_function(
    spec: Spec | str | os.PathLike[str],
    variant: str | None = None,
    *,
    over: Iterable[str] | Mapping[str, Iterable[Any] | None],
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    device: DeviceProfile | str | None = None,
    dtype: str | None = None,
    **settings: Any,
) -> CostFunction:
    """The cost of an architecture as a function of hyperparameters and input sizes.

    Parameters
    ----------
    spec : Spec, path or shipped name
    variant : str, optional
        One of its variants, where it is loaded by name.
    over : iterable of str, or mapping of str to values
        Integer hyperparameters, lists of integers (whole, or ``depths.0``), sizes of inputs (``H``, ``B``), flags and
        texts. With listed values a hyperparameter may be anything; it is elaborated once per value where it decides
        the structure. Without values a whole number runs from 1, a flag over both, a text over its ``one_of``.
    graph : str, optional
        Which graph, where there are several.
    at : mapping, optional
        Input name → shape; sizes left out take the spec's examples and a batch of one.
    device : DeviceProfile or str, optional
        A device, the name of a shipped one or a YAML file: times and energy are told as well, by its roofline.
    dtype : str, optional
        What the device computes in; float32 by default.
    **settings
        Hyperparameters to set.

    Returns
    -------
    CostFunction

    Raises
    ------
    SpecError
        For unknown names, and hyperparameters whose values must be listed.
    """
    if not isinstance(spec, Spec):
        spec = load(spec, variant, **settings)
    elif variant is not None:
        raise ValueError("a loaded spec has its variant; give it to `load`")
    elif settings:
        spec = spec.with_settings(**settings)
    if isinstance(over, str):
        raise TypeError("`over` takes a list of names")
    names = over if isinstance(over, Mapping) else dict.fromkeys(over)
    on = None if device is None else target(load_profile(device) if isinstance(device, str) else device, dtype)
    return CostFunction(spec, graph, at, names, on)
