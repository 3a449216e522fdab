"""Bodies run by tapes give what the general way gives: graphs, guards, places, and the words of faults."""

from __future__ import annotations

import random
from typing import Any

import pytest

from archgraph.analysis.cost import totals
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.spec import tape
from archgraph.spec.frame import Session
from archgraph.spec.load import Spec, load, loads
from archgraph.spec.spec_files import parse_file, shipped

FILES = [pytest.param(path, id="/".join(path.parts[-2:])) for paths in shipped().values() for path in paths]


def seen(spec: Spec, settings: dict[str, Any], session: Session, name: str, at: dict[str, Any]) -> Any:
    """All that an elaboration shows: the typed graph with guards and places and its cost, or the faults."""
    try:
        graph = Spec(spec.file, spec.variant, settings, session).graph(name, at=at)
    except SpecError as error:
        return "faults", error.diagnostics
    return "graph", graph, [_shown(g) for g in graph.graphs()], str(totals(graph)) if _numbers(graph) else None


def _shown(g: Graph) -> Any:
    nodes = [(n.name, n.origin, n.flags, n.late, [t.key for t in n.types]) for n in g.nodes]
    return g.name, g.args, g.source, nodes, [(guard.cond, guard.why, guard.span) for guard in g.guards]


def _numbers(graph: Graph) -> bool:
    return not any(t.symbols() for n in graph.nodes for t in n.types)


def other_settings(spec: Spec, draw: random.Random) -> dict[str, Any]:
    """The spec's settings, a few of its numbers changed; not all of them fit one another."""
    found = dict(spec.settings)
    params = list(spec.file.params.values())
    for p in draw.sample(params, min(len(params), draw.randint(1, 2))):
        value = spec.settings.get(p.name, p.value)
        if type(value) is bool:
            found[p.name] = not value
        elif type(value) is int:
            found[p.name] = draw.choice([value + 1, value * 2, max(value // 2, 1), value, 0])
        elif type(value) is float:
            found[p.name] = draw.choice([value / 2, value + 0.25])
        elif p.choices:
            found[p.name] = draw.choice(p.choices)
        elif isinstance(value, tuple) and value and all(type(v) is int for v in value):
            found[p.name] = tuple(v * draw.choice([1, 2]) for v in value)
    return found


@pytest.mark.parametrize("path", FILES)
def test_shipped_specs_with_other_numbers(path: Any) -> None:
    file = parse_file(path)
    draw = random.Random(path.name)
    variants = list(file.variants) or [None]
    session, plain = Session(), Session(tapes=False)
    for name in list(file.graphs)[:2]:
        for _ in range(6):
            spec = load(path, draw.choice(variants))
            example = spec.example(name)
            settings = other_settings(spec, draw)
            at = example if draw.random() < 0.5 else {}
            session.memo.clear()  # so that blocks run again, not only those that differ
            assert seen(spec, settings, session, name, at) == seen(spec, settings, plain, name, at), settings


def ran(spec: Spec, **settings: Any) -> tuple[list[str], Graph]:
    """The bodies that a tape ran to the end, and the graph."""
    found: list[str] = []
    run = tape.Tape.run

    def noted(self: tape.Tape, f: Any) -> bool:
        done = run(self, f)
        if done:
            found.append(f.block.name)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape.Tape, "run", noted)
        graph = spec.with_settings(**settings).graph()
    return found, graph


def test_tapes_are_run_from_the_third_time_on() -> None:
    spec = load("vit", "tiny")
    spec = Spec(parse_again(spec), "tiny", spec.settings)
    for k in (20, 21):
        assert {"vit", "block"}.isdisjoint(ran(spec, dim=12 * k)[0])
    names, graph = ran(spec, dim=12 * 22)
    assert sorted(names) == ["block", "mhsa", "mlp", "vit"]
    assert graph == Spec(spec.file, "tiny", {**spec.settings, "dim": 12 * 22}, Session(tapes=False)).graph()
    assert ran(spec, dim=12 * 23, depth=3)[0]


def parse_again(spec: Spec) -> Any:
    with open(spec.file.path, encoding="utf-8") as text:
        return loads(text.read(), file=spec.file.path).file


CHOICE = """\
archgraph: 1
name: choice
params: {width: 4, wide: false, gain: 1.0, act: {op: relu}}
inputs: {x: [B, 8]}
graph:
  up:    {op: linear, out_features: width, bias: wide}
  more:  {op: linear, out_features: 2 * width, when: wide}
  acted: act
  scaled: {formula: acted * gain + 0 * width}
  down:  {op: linear, out_features: 8}
  out:   {formula: down + x}
"""


def test_a_choice_that_comes_out_otherwise_is_left() -> None:
    spec = loads(CHOICE)
    settings: list[dict[str, Any]] = [
        {}, {"width": 5}, {"width": 6}, {"wide": True}, {"width": 7}, {"wide": True, "width": 9}, {"gain": 2.0},
        {"gain": 2}, {"width": 3, "gain": 0.5}, {"act": {"op": "gelu"}}, {"act": {"op": "gelu"}, "width": 12},
        {"act": {"op": "leaky_relu", "negative_slope": 0.3}}, {"act": {"op": "leaky_relu", "negative_slope": 0.4}},
    ]  # fmt: skip
    for s in settings:
        plain = Spec(spec.file, None, spec.with_settings(**s).settings, Session(tapes=False))
        assert spec.with_settings(**s).graph() == plain.graph()


NULL = """\
archgraph: 1
name: holder
params: {width: 8, widen: null}
inputs: {x: [B, 8]}
graph:
  grown: {formula: x if widen == null else x * widen}
  twice: {op: inner, repeat: 2, widen: widen}
  last:  {op: linear, out_features: width}
blocks:
  inner:
    params: {widen: null}
    inputs: {x: [B, C]}
    graph:
      wide: {op: linear, out_features: widen, when: widen != null}
      back: {op: linear, out_features: C}
"""


def test_a_param_that_is_null_at_first() -> None:
    spec = loads(NULL)
    for s in [{}, {"width": 5}, {"width": 6}, {"widen": 12}, {"widen": 13, "width": 7}, {"width": 9}]:
        plain = Spec(spec.file, None, {**spec.settings, **s}, Session(tapes=False))
        assert Spec(spec.file, None, {**spec.settings, **s}, Session()).graph() == plain.graph()


def test_a_fault_is_told_as_ever_and_leaves_no_trace() -> None:
    spec = loads(CHOICE)
    for k in range(5, 9):
        spec.with_settings(width=k).graph()
    assert ran(spec, width=11)[0] == ["choice"]
    with pytest.raises(SpecError) as fault:
        spec.with_settings(width=0).graph()
    assert [d.code for d in fault.value.diagnostics] == ["attr/value"]
    assert fault.value.diagnostics[0].at is not None
    assert ran(spec, width=13)[0] == ["choice"]


def test_bodies_of_changing_choices_are_not_recorded_for_ever() -> None:
    spec = loads(CHOICE.replace("when: wide", "when: width % 32 == 0"))
    plan = spec.block().plan
    assert plan is not None
    for k in range(1, 70):
        spec.with_settings(width=k, act={"op": "leaky_relu" if k % 2 else "gelu"}).graph()
    assert plan.tapes is not None
    assert len(plan.tapes.known) <= tape.MAX_TAPES
    assert plan.tapes.recordings <= tape.MAX_RECORDINGS


def test_a_null_on_record_is_not_given_to_one_who_passes_a_value() -> None:
    # stages without and with a global filter: what ran on record with null runs with sizes in the last two
    spec = load("hornet", "tiny_gf")
    assert totals(spec.graph()).params == 22_991_848
    plain = Spec(spec.file, spec.variant, spec.settings, Session(tapes=False))
    assert spec.graph() == plain.graph()
