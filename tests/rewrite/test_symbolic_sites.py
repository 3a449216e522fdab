"""Rules on graphs of open sizes: sites are those that there are at the point whose case is studied."""

import pytest

import archgraph
from archgraph.analysis.cases import Cases
from archgraph.analysis.cost import totals
from archgraph.ir.dim import eq, evaluate, holds, sym
from archgraph.report.law import rewriting

# the replacement has the size of what it replaces only where regions and windows tile the map, heads share the width,
# or a chain of an open number of turns is rewritten as a whole
CASES = [
    ("biformer", {"image_size": 224}, {"image_size": 448}),
    ("agent-attention/cswin", {"image_size": 224}, {"image_size": 224}),
    ("agent-attention/swin", {"image_size": 224}, {"image_size": 448}),
    ("agent-attention/deit", {"num_heads": 3}, {"num_heads": 6}),
    ("eca-net/resnet", {"depths": (2, 2, 2, 2)}, {"depths": (3, 1, 2, 5)}),
    ("ela/resnet", {"depths": (2, 2, 2, 2)}, {"depths": (1, 4, 2, 3)}),
    ("ulsam/mobilenet_v2", {"divisor": 8}, {"divisor": 4}),
]


def flat(values):
    return {
        name: v
        for key, value in values.items()
        for name, v in ([(key, value)] if isinstance(value, int) else [(f"{key}.{k}", x) for k, x in enumerate(value)])
    }


@pytest.mark.parametrize(("name", "base", "other"), CASES, ids=[c[0] for c in CASES])
def test_derived_specs_are_rewritten_under_symbols(name, base, other):
    spec = archgraph.load(name)
    cases = Cases(spec, list(base))
    for values in (base, other):
        point = flat(values)
        case = cases.at(point)
        assert case.graph is not None, case.error
        numbers = archgraph.report(spec.with_settings(**values), depth=0)
        forms = totals(case.graph)
        for cost in ("params", "macs", "flops", "saved_bytes", "activation_bytes"):
            assert evaluate(getattr(forms, cost), point) == getattr(numbers, cost), cost


def test_a_rule_on_a_whole_spec():
    spec = archgraph.load("vit")
    case = Cases(spec, ["num_heads"], change=rewriting(["softmax_to_agent"])).at({"num_heads": 3})
    assert case.graph is not None, case.error
    assert all(cond.evaluate({"num_heads": 3}) for cond in case.assumed)


def test_outside_of_cases_nothing_undecided_holds():
    assert not holds(eq(sym("n"), 3))
    assert holds(eq(sym("n"), sym("n")))
    assert not holds(eq(sym("n") + 1, sym("n")))
