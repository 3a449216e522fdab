"""Every shipped spec has closed forms in input size, width and depth, equal to the integer analysis point by point.

In slow runs 200 points each, else a few.
"""

import random

import pytest

import archgraph
from archgraph import cost_function
from archgraph.analysis.cases import Cases
from archgraph.analysis.cost import totals
from archgraph.analysis.law import RESULTS, Law
from archgraph.analysis.sizes import with_params
from archgraph.analysis.symbolic import base_point, close, open_names
from archgraph.ir.diagnostics import SpecError
from archgraph.spec.load import Spec
from archgraph.spec.spec_files import shipped

SIZE = range(32, 257)

# spec file → (what stands open, how values are drawn): size, width, depth first. A list of values where only some make
# sense; ranges are drawn from, times the step of the second entry. Names of lists draw each entry.
FORMS = {
    "alexnet": {"H": SIZE, "widths": range(1, 65), "hidden": range(1, 99)},
    "convnext": {"H": SIZE, "dims": range(1, 65), "depths": range(1, 5)},
    "densenet": {"H": SIZE, "growth_rate": range(1, 33), "depths": [(1, 2, 1, 3), (2, 2, 2, 2), (3, 1, 1, 1)]},
    "detr": {"H": SIZE, "dim": range(8, 129, 8), "encoder_depth": range(1, 7), "depths": range(1, 4)},
    "dhvt": {"image_size": range(16, 129, 16), "dim": range(8, 97, 8), "depth": range(1, 9), "num_heads": [1, 2, 4]},
    "eca-net/mobilenet_v2": {"H": SIZE, "stem_width": range(8, 65, 8), "last_width": range(8, 257, 8)},
    "eca-net/resnet": {
        "H": SIZE,
        "widths": range(4, 65, 4),
        "depths": [(1, 2, 1, 3), (2, 2, 2, 2)],
    },  # a rewrite counts
    "efficientnet": {"H": SIZE, "stem_width": range(8, 65), "last_width": range(8, 257)},
    "fpn": {"B": range(1, 9), "in_channels": range(1, 99), "out_channels": range(1, 99)},
    "hornet": {"H": SIZE, "dim": range(4, 65, 4), "depths": range(1, 5)},
    "l2vit": {"H": range(32, 257, 4), "depths": range(1, 5), "last_dim": range(8, 99)},
    "maxvit": {"image_size": range(32, 257, 32), "dims": range(32, 97, 32), "depths": range(1, 4)},
    "mobilenet_v1": {"H": SIZE, "stem_width": range(8, 65)},
    "mobilenet_v2": {"H": SIZE, "stem_width": range(8, 65), "last_width": range(8, 257)},
    "pvt": {"image_size": range(32, 257, 32), "dims": range(40, 201, 40), "depths": range(1, 4)},
    "pvt_v2": {"H": range(32, 257, 32), "dims": range(40, 201, 40), "depths": range(1, 4)},
    "resnet": {"H": SIZE, "widths": range(4, 65, 4), "depths": range(1, 4)},
    "smt": {"H": SIZE, "dims": range(64, 257, 64), "depths": range(1, 5)},
    "swin": {"image_size": range(32, 257, 16), "dim": range(24, 97, 24), "depths": range(1, 5)},
    "vgg": {"H": range(32, 257), "hidden": range(1, 257), "pool_size": range(1, 8)},
    "vit": {"image_size": range(16, 257, 16), "dim": range(8, 97, 4), "depth": range(1, 9), "num_heads": [1, 2, 4]},
}
# What has no closed form here, and why: the depth of the language model is a list of layers of several kinds.
PARTLY = {
    "lightning-attention": {"N": range(8, 257, 8), "hidden": range(8, 99), "dim": [64, 128]},
}


#: Names of sizes, widths and depths, for specs without an entry of their own; the first that a spec has counts.
USUAL = (("image_size", "H", "samples", "N", "T", "L"), ("dim", "dims", "width", "widths"), ("depth", "depths"))


def usual(spec):
    """What stands open of a spec without an entry: its own values times 1 to 3, depths as they are and one more."""
    known, found = open_names(spec), {}
    for kind, names in enumerate(USUAL):
        for n in names:
            if n not in known:
                continue
            point = base_point(spec, [n])
            try:
                Law(Cases(spec, [n]), list(point)).find(list(point.values()))
            except SpecError:  # a depth whose turns are read one by one, say
                continue
            base = list(point.values())
            found[n] = [[v + k if kind == 2 else v * (k + 1) for k in range(3)] for v in base]
            break
    return found


def forms():
    listed = {**FORMS, **PARTLY}
    return {name: listed.get(name) for name in files()}


def files():
    found = {}
    for name, paths in shipped().items():
        for path in paths:
            found[name if len(paths) == 1 else f"{name}/{path.stem}"] = path
    return found


def check(name, points, seed):
    rng = random.Random(seed)
    spec = archgraph.load(str(files()[name]))
    ranges = forms()[name] or usual(spec)
    listed = {n for n, values in ranges.items() if isinstance(values, list) and isinstance(values[0], tuple)}
    f = cost_function(spec, over={n: values if n in listed else None for n, values in ranges.items()})
    lengths = {n: len(v) for n, v in spec.params().items() if isinstance(v, tuple)}
    valid = 0
    for _ in range(points):
        point, env = {}, {}
        for n, values in ranges.items():
            if n in lengths and n not in listed:
                each = values if isinstance(values[0], list) else [values] * lengths[n]
                point[n] = tuple(map(rng.choice, each))
                env.update((f"{n}.{k}", v) for k, v in enumerate(point[n]))
            else:
                point[n] = rng.choice(values[0] if isinstance(values[0], list) else values)
                env[n] = point[n]
        fixed = with_params(spec, {n: point[n] for n in listed})
        fixed = Spec(fixed.file, fixed.variant, fixed.settings)  # a memo of its own: nothing from other points
        closed, sizes = close(fixed, [n for n in ranges if n not in listed], None, None, env)
        try:
            graph = closed.graph(None, sizes)
        except SpecError:
            graph = None
        found = f.scalar(**point)
        assert found["valid"] == (graph is not None), (point, f.why(**point))
        if graph is not None:
            t = totals(graph)
            assert {r: found[r] for r in RESULTS} == {r: getattr(t, r) for r in RESULTS}, point
            valid += 1
    least = points // 3 if name in FORMS else 0
    assert valid >= least, f"only {valid} of {points} points are valid"


@pytest.mark.parametrize("name", forms())
def test_closed_forms_are_the_integer_analysis(name):
    check(name, 4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", forms())
def test_closed_forms_at_many_points(name):
    check(name, 200, seed=2)
