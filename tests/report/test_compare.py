"""Curves, orders, crossings: solved and by hand; every attention kind has the degree that its paper claims."""

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from typer.testing import CliRunner

import archgraph
from archgraph.analysis.cases import Cases
from archgraph.analysis.profiles import load_profile
from archgraph.analysis.roofline import target
from archgraph.cli.app import app
from archgraph.ir.dim import TooLarge, sym
from archgraph.report.compare import TIMED, Crossover, compare, curve
from archgraph.report.curves import svg

ATTENTION = """\
archgraph: 1
name: {name}
params: {{width: 64}}
inputs: {{x: {{shape: [B, N, width], at: [1, 196, 64]}}}}
graph:
{body}
outputs: {{y: y}}
"""
SOFTMAX = """\
  y: {op: scaled_dot_product_attention, in: {query: x, key: x, value: x}}"""
LINEAR = """\
  q:  {op: relu, in: x}
  kv: {op: einsum, in: [q, x], pattern: "b n d, b n e -> b d e"}
  y:  {op: einsum, in: [q, kv], pattern: "b n d, b d e -> b n e"}"""


def spec(name, body):
    return archgraph.loads(ATTENTION.format(name=name, body=body))


def curves(cost="macs"):
    return [curve(spec("softmax", SOFTMAX), "N", cost), curve(spec("linear", LINEAR), "N", cost)]


def test_softmax_crosses_linear_attention_where_the_sequence_is_as_long_as_wide():
    found = compare(curves(), 1, 65536)
    # 2·N²·64 against 2·N·64²
    assert [(x.at, x.before, x.after) for x in found.crossovers] == [(64, -1, 0), (65, 0, 1)]
    assert {x.modulus for x in found.crossovers} == {1}
    assert [c.degree(1000) for c in found.curves] == [2, 1]
    assert [c.order(1000) for c in found.curves] == ["O(N²)", "O(N)"]
    assert "solved for remainders by 1" in str(found.crossovers[0])
    assert json.dumps(found.to_dict())


def test_a_rewritten_spec_is_compared_in_all_its_structures():
    vit = archgraph.load("vit")
    found = compare([curve(vit, "image_size"), curve(vit, "image_size", rules=["softmax_to_linear"])], 64, 512)
    a, b = found.curves
    for x in found.crossovers:
        assert isinstance(x, Crossover)
        left, right = a.at(x.at), b.at(x.at)
        if left is not None and right is not None:
            assert (left > right) - (left < right) == x.after
    assert a.degree(512) == 4
    assert b.degree(512) == 2
    assert b.at(224) < a.at(224)


def brute(a, b, low, high):
    """Changes of sign from one valid size to the next, by looking at each."""
    signs = [(n, (x > y) - (x < y)) for n in range(low, high + 1) if (x := a.at(n)) is not None and (y := b.at(n))]
    return [(n, before, after) for (_, before), (n, after) in pairwise(signs) if before != after]


# strides, windows and paddings; structures that hang on the size; variants; rules; other costs
COMPARED = [
    ("resnet:resnet50", "convnext", "H", (33, 400), "macs", {}),
    ("vit", "vit+softmax_to_linear", "image_size", (16, 700), "macs", {}),
    ("vit", "vit+softmax_to_window", "image_size", (112, 700), "macs", {"class_token": False, "pool": "mean"}),
    ("vit:small", "biformer", "image_size", (56, 672), "macs", {}),
    ("sparsifiner", "vit:small", "image_size", (64, 512), "expected_macs", {}),
    ("vit:small", "swin", "image_size", (64, 240), "macs", {}),
    ("pvt", "pvt_v2", "H", (32, 300), "macs", {}),
    ("resnet", "hornet:tiny_7x7", "W", (32, 300), "activation_bytes", {}),
    ("vit:tiny", "vit:small", "depth", (1, 60), "params", {}),
    ("mobilenet_v2", "eca-net/mobilenet_v2", "H", (32, 200), "macs", {}),
]


@pytest.mark.parametrize(("one", "other", "name", "bounds", "cost", "settings"), COMPARED)
def test_crossovers_are_those_of_every_valid_size(one, other, name, bounds, cost, settings):
    drawn = []
    for text in (one, other):
        base, *rules = text.split("+")
        spec, _, variant = base.partition(":")
        drawn.append(curve(archgraph.load(spec, variant or None, **settings), name, cost, rules=rules))
    found = compare(drawn, *bounds)
    assert [(x.at, x.before, x.after) for x in found.crossovers] == brute(*drawn, *bounds)
    assert len(found.lines()) < 30
    assert json.dumps(found.to_dict())


def test_pictures():
    found = compare(curves("activation_bytes"), 16, 4096)
    root = ElementTree.fromstring(svg(found))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 2
    assert "linear" in "".join(root.itertext())


def test_command(tmp_path):
    files = []
    for name, body in (("softmax", SOFTMAX), ("linear", LINEAR)):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(ATTENTION.format(name=name, body=body))
    args = ["compare", *map(str, files), "--over", "N=1:4096"]
    shown = CliRunner().invoke(app, [*args, "--svg", str(tmp_path / "c.svg")])
    assert shown.exit_code == 0, shown.output
    assert "costs more than" in " ".join(shown.output.split())
    assert (tmp_path / "c.svg").read_text().startswith("<svg")
    told = json.loads(CliRunner().invoke(app, [*args, "--json"]).output)
    assert told["crossovers"][0]["at"] == 64
    wrong = CliRunner().invoke(app, [*args[:-1], "N=9:4"])
    assert wrong.exit_code == 1


# Every attention of the library: the spec, what grows, and the order of growth of its MACs in it, as its paper claims.
ORDERS = [
    ("vit", None, "image_size", 224, 4, "softmax attention, quadratic in tokens"),
    ("dhvt", None, "image_size", 224, 4, "softmax attention, quadratic in tokens"),
    (
        "maxvit",
        {"window": (7, 7), "grid": (7, 7)},
        "image_size",
        224,
        2,
        "blocks and grids of fixed size, linear in pixels",
    ),
    ("swin", None, "image_size", 224, 2, "windows, linear in pixels"),
    ("l2vit", None, "H", 224, 1, "linear attention; of the height alone"),
    ("pvt", None, "image_size", 224, 4, "keys reduced by a constant: still quadratic"),
    ("hornet", None, "H", 224, 1, "no attention: gated convolutions"),
    ("halonet", None, "image_size", 256, 2, "neighbourhoods, linear in pixels"),
    ("smt", None, "H", 224, 2, "softmax attention in the late stages"),
    ("lightning-attention", None, "N", 1024, 1, "linear in tokens"),
]


@pytest.mark.parametrize(("name", "settings", "size", "at", "degree", "why"), ORDERS)
def test_attention_has_the_degree_of_its_paper(name, settings, size, at, degree, why):
    c = curve(archgraph.load(name, **(settings or {})), size)
    assert c.at(at) is not None
    assert (c.degree(at) or growth_degree(c, at)) == degree, why


def growth_degree(c, at):
    from archgraph.analysis.growth import growth

    return max(growth(x).degree(c.name) for x in c._at(at)[1])


def test_sizes_that_the_spec_refuses_are_not_valid():
    c = curve(archgraph.load("vit"), "image_size")
    assert c.at(225) is None


def test_cases_know_changes():
    graph = Cases(archgraph.load("vit"), ["depth"], change=lambda g: g).at({"depth": 3}).graph
    assert graph is not None


def test_crossings_lie_on_sizes_that_both_take():
    # ViT takes multiples of 16; between these its closed form goes on, and crosses ConvNeXt's more often
    side = {name: (1, 3, sym("S"), sym("S")) for name in ("image", "x")}
    vit = curve(archgraph.load("vit", "small"), "S", at={"image": side["image"]})
    convnext = curve(archgraph.load("convnext", "tiny"), "S", at={"x": side["x"]})
    found = compare([vit, convnext], 64, 512)
    signs = {n: vit.at(n) > convnext.at(n) for n in range(64, 513, 16)}
    changes = [n for n in range(80, 513, 16) if signs[n] != signs[n - 16]]
    assert [x.at for x in found.crossovers] == changes


def test_closed_forms_that_do_not_end_are_refused_by_name(monkeypatch):
    def refuse(*anything):
        raise TooLarge("longer than anybody reads")

    monkeypatch.setattr("archgraph.report.compare.cost_forms", refuse)
    with pytest.raises(archgraph.SpecError, match=r"softmax has no closed form of macs over N"):
        compare(curves(), 16, 64)


def test_times_on_a_device_cross_where_the_ops_do():
    on = target(load_profile("t4"), "float16")
    for cost in TIMED:
        two = [curve(spec("softmax", SOFTMAX), "N", cost, on=on), curve(spec("linear", LINEAR), "N", cost, on=on)]
        found = compare(two, 1, 65536)
        for c, body in zip(found.curves, (SOFTMAX, LINEAR), strict=True):
            times = archgraph.report(
                spec(c.label, body), at={"x": (1, 4096, 64)}, device=on.device, dtype=on.dtype
            ).roofline
            assert on.seconds(c.at(4096)) == (times.bound if cost == "roofline" else times.op_by_op)
        assert [c.order(60000) for c in found.curves] == ["O(N²)", "O(N)"]
        assert [x.after for x in found.crossovers][-1] == 1
        for x in found.crossovers:
            left, right = (c.at(x.at) for c in found.curves)
            assert (left > right) - (left < right) == x.after
        assert json.loads(json.dumps(found.to_dict()))["unit"] == on.tick
        assert found.cell(two[0].at(4096)).endswith("s")
        assert "t4, float16" in "\n".join(found.lines())


def test_times_need_a_device(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(ATTENTION.format(name="a", body=SOFTMAX))
    given = ["compare", str(path), "--over", "N=64:128"]
    assert CliRunner().invoke(app, [*given, "--cost", "roofline"]).exit_code == 2
    assert CliRunner().invoke(app, [*given, "--device", "t4"]).exit_code == 2
    found = CliRunner().invoke(app, [*given, "--cost", "roofline", "--device", "t4"])
    assert found.exit_code == 0
    assert "times on t4, float32" in found.output
