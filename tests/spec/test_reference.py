"""The section `reference:`: which entry a class means, arguments to params, inputs, outputs, and its mistakes."""

from typing import Any

import pytest

from archgraph.ir.diagnostics import SpecError
from archgraph.spec.load import loads
from archgraph.spec.reference import Misfit, Reading, Reference, called
from archgraph.spec.reference_find import rank
from archgraph.spec.reference_parse import references

SPEC = """
archgraph: 1
name: host
params: {dim: 8, depth: 2, act: {one_of: [relu, gelu]}, layer: {op: plain}}
variants: {small: {}, wide: {dim: 16, layer: {op: gated, k: 5}}}
inputs: {image: [B, 3, H, W]}
graph:
  conv: {op: conv2d, out_channels: dim, kernel_size: 3, padding: 1}
  blocks: {op: $layer, repeat: depth}
outputs: {logits: blocks}
blocks:
  plain:
    inputs: {x: [B, C, H, W]}
    graph: {conv: {op: conv2d, out_channels: C, kernel_size: 1}}
  gated:
    params: {k: 3}
    inputs: {x: [B, C, H, W]}
    graph: {conv: {op: conv2d, out_channels: C, kernel_size: k, padding: k // 2}}
  tokens:
    inputs: {x: [B, P + (H W), C], skip: {shape: [B, M, C], optional: true}}
    graph:
      rest: {op: slice, in: x, dim: 1, start: P}
      map: {op: rearrange, pattern: b (h w) c -> b c h w}
  merge:
    inputs: {maps: {list: [B, C, H, W]}}
    graph: {y: {op: add, in: [maps...]}}
"""


def entry(body: str, name: str = "other", more: str = "") -> Reference:
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return references(loads(f"{SPEC}\nreference:\n  {name}:\n{indented}{more}").file)[name]


def faults(body: str, more: str = "") -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        entry(body, more=more)
    assert all(fault.at is not None for fault in caught.value.diagnostics)
    return [(fault.code, fault.message) for fault in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("official", "spelling", "expected"),
    [
        ("torchvision  ResNet", "torchvision ResNet", 1),
        ("torchvision ResNet (widths /8)", "torchvision ResNet", 2),
        ("a.py::Model (slim) (train outputs)", "a.py::Model", 2),
        ("timm (models/maxxvit.py)::MaxxVit", "timm (models/maxxvit.py)::MaxxVit", 1),
        ("timm (models/maxxvit.py)::MaxxVitBlock", "timm (models/maxxvit.py)::MaxxVit", None),
        ("whai362/PVT classification/pvt.py::PVT", "pvt.py::PVT", 3),
        ("whai362/PVT classification/pvt.py::PVT", "classification/pvt.py::PVT", 3),
        ("pvt.py::PVT", "whai362/PVT classification/pvt.py::PVT", 3),
        ("whai362/PVT classification/mypvt.py::PVT", "pvt.py::PVT", None),
        ("torchvision vgg.make_layers cfg D (slim)", "torchvision vgg.make_layers", 4),
        ("torchvision vgg.make_layers", "torchvision vgg", None),
        ("own/repo src/models/net.py::Net", "net.py::Net", 3),
        ("own/repo src/models/net.py::Net", "models/net.py::Net", 3),
        ("a reconstruction around torchvision ResNet", "torchvision ResNet", None),
        ("mmdet FPN + code/heads/bvr_head.py::BVRHead", "bvr_head.py::BVRHead", None),
        ("", "x", None),
    ],
)
def test_which_class_a_spelling_names(official: str, spelling: str, expected: int | None) -> None:
    found = rank(official, spelling)
    assert (found and found[0]) == expected


def test_among_heads_the_longer_is_better() -> None:
    assert rank("a b c d", "a b c") < rank("a b c d", "a b")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("forward(x, size=(12, 9))", {"size": (12, 9)}),
        ("call forward(x, H=8, W=6); stride 2", {"H": 8, "W": 6}),
        ("norm eps 1e-6; forward(x, H=8, flag=true, name=prose text)", {"H": 8, "flag": True}),
        ("forward (x)", {}),
        ("forward(x)", {}),
        ("", {}),
    ],
)
def test_arguments_of_the_call_come_from_the_note(note: str, expected: dict[str, Any]) -> None:
    assert called(note) == expected


def test_arguments_merge_over_defaults_and_give_params() -> None:
    reference = entry(
        """
to: graph
args: {width: 4, cfg: {deep: {n: 1, m: 2}, name: big}, kind: A, "on": true}
ignored: {dropout: _, mode: fast, eps: {one_of: [0.1, 0.2]}}
let: {twice: 2 * width, n: cfg.deep.n + cfg.deep.m}
params:
  dim: twice
  depth: n + len(inputs) + shape['w'].1 + call.H
  act: "'gelu' if cfg.name[0] == 's' else 'relu'"
  layer: {switch: kind, cases: {A: {op: plain}, B: {op: gated, k: width + 1}}, else: {op: gated}}
"""
    )
    env = reference.environment({"cfg": {"deep": {"m": 5}}}, {"x": (1, 2)}, {"w": (3, 7)}, "forward(x, H=100)")
    assert reference.settings(env) == {"dim": 8, "depth": 1 + 5 + 1 + 7 + 100, "act": "relu", "layer": {"op": "plain"}}
    env = reference.environment(
        {"kind": "B", "cfg": {"name": "small"}, "mode": "fast", "eps": 0.2}, {}, {"w": (3, 7)}, "forward(x, H=0)"
    )
    assert reference.settings(env)["layer"] == {"op": "gated", "k": 5}
    assert reference.settings(env)["act"] == "gelu"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"widht": 4}, "unknown argument `widht` (`width`?)"),
        ({"mode": "slow"}, "`mode` is 'slow'; the spec covers 'fast'"),
        ({"left": 2}, "`left` is 2, which the spec does not read; its default is 1"),
        ({"need": None, "mode": 1}, "`mode` is 1; the spec covers 'fast'"),
    ],
)
def test_arguments_that_are_not_covered_are_refused(args: dict[str, Any], reason: str) -> None:
    body = "to: graph\nargs: {width: 4, left: 1}\nignored: {mode: fast}\nparams: {dim: width, depth: need}"
    reference = entry(body)
    with pytest.raises(Misfit) as caught:
        reference.environment({"need": 1, **args})
    assert caught.value.reasons == (reason,)
    assert reference.environment({"need": 1, "left": 1, "mode": "fast"})["width"] == 4


def test_every_reason_is_told() -> None:
    reference = entry("to: graph\nparams: {dim: width, depth: need}")
    with pytest.raises(Misfit) as caught:
        reference.environment({"a": 1, "b": 2})
    assert len(caught.value.reasons) == 4  # two unknown, two missing


def test_true_is_not_one() -> None:
    reference = entry("to: graph\nignored: {flag: true, n: 1}")
    reference.environment({"flag": True, "n": 1.0})
    for args in ({"flag": 1}, {"n": True}):
        with pytest.raises(Misfit):
            reference.environment(args)


def test_conditions_decide_whether_an_entry_fits() -> None:
    reference = entry("to: graph\nwhen: kind == 'A' and 'x' in inputs")
    reference.environment({"kind": "A"}, {"x": (1,)})
    for args, inputs in (({"kind": "B"}, {"x": (1,)}), ({}, {"x": (1,)}), ({"kind": "A"}, {})):
        with pytest.raises(Misfit, match="does not hold"):
            reference.environment(args, inputs)


def test_values_without_a_value_are_told() -> None:
    reference = entry("to: graph\nargs: {xs: [1]}\nparams: {dim: xs.3}")
    with pytest.raises(Misfit, match=r"the param `dim`: index 3 of a list of 1"):
        reference.settings(reference.environment({}))


# -- inputs and outputs ----------------------------------------------------------------------------------------------


def fed(
    reference: Reference, inputs: dict[str, tuple[int, ...]], **args: Any
) -> dict[str, tuple[str, tuple[Any, ...]]]:
    env = reference.environment(args, inputs)
    return {each.ours: (each.theirs, each.type.shape) for each in reference.feed(inputs, env)}


def test_inputs_by_name_by_position_and_changed() -> None:
    assert fed(entry("to: graph"), {"image": (1, 3, 4, 5)}) == {"image": ("image", (1, 3, 4, 5))}
    assert fed(entry("to: graph"), {"x": (1, 3, 4, 5)}) == {"image": ("x", (1, 3, 4, 5))}
    assert fed(entry("to: graph\ninputs: {image: img}"), {"img": (1, 3, 4, 5)}) == {"image": ("img", (1, 3, 4, 5))}
    changed = entry("to: graph\ninputs: {image: {from: x, pattern: b h w c -> b c h w}}")
    assert fed(changed, {"x": (1, 4, 5, 3)}) == {"image": ("x", (1, 3, 4, 5))}


def test_inputs_that_are_lists() -> None:
    shape = (1, 2, 4, 4)
    expected = {"maps.0": ("c.0", shape), "maps.1": ("c.1", shape)}
    assert fed(entry("to: merge\ninputs: {maps: c}"), {"c.0": shape, "c.1": shape}) == expected
    assert fed(entry("to: merge\ninputs: {maps: _}\nunread: n"), {"c.0": shape, "n": (1,), "c.1": shape}) == expected
    named = entry("to: merge\ninputs: {maps: [p, q]}")
    assert fed(named, {"q": shape, "p": shape}) == {"maps.0": ("p", shape), "maps.1": ("q", shape)}


def test_inputs_that_nobody_reads_must_be_named() -> None:
    inputs = {"image": (1, 3, 4, 4), "mask": (1,)}
    with pytest.raises(Misfit, match="nothing reads the input mask; our inputs are image"):
        fed(entry("to: graph"), inputs)
    assert set(fed(entry("to: graph\nunread: mask"), inputs)) == {"image"}


def test_optional_inputs_may_be_left_out() -> None:
    reference = entry("to: tokens\ndims: {P: 1, H: side, W: side}")
    assert set(fed(reference, {"x": (2, 17, 8)}, side=4)) == {"x"}
    assert set(fed(reference, {"x": (2, 17, 8), "skip": (2, 3, 8)}, side=4)) == {"x", "skip"}


def test_dims_say_the_grid_of_tokens() -> None:
    reference = entry("to: tokens\ndims: {P: 1, H: side, W: side + 1}")
    inputs = {"x": (2, 21, 8)}
    env = reference.environment({"side": 4}, inputs)
    (x,) = reference.feed(inputs, env)
    assert str(x.type.layout[0][1]) == "1 + (4 5)"
    assert reference.graph(env, [x]).output_types[0].shape == (2, 8, 4, 5)
    with pytest.raises(Misfit, match=r"`dims` say 1 \+ \(5 6\)"):
        reference.feed(inputs, reference.environment({"side": 5}, inputs))


def test_outputs() -> None:
    reference = entry(
        "to: graph\noutputs: {feats: maps, aux: null, y: {from: conv, pattern: b c h w -> b h w c, mode: train}}"
    )
    found = reference.compared(["feats.1", "aux", "y", "logits"], ["logits", "maps.0", "maps.1"])
    assert found["feats.1"] == Reading(("maps.1",))
    assert found["aux"] is None
    assert found["logits"] == Reading(("logits",))
    assert found["y"] is not None
    assert (found["y"].names, found["y"].mode) == (("conv",), "train")
    rest = entry("to: graph\noutputs: {a: logits, _: maps}").compared(["b", "a", "c"], ["logits", "maps.0"])
    assert [reading and reading.names for reading in rest.values()] == [("maps.0",), ("logits",), ("maps.1",)]
    assert entry("to: graph").compared(["y"], ["logits"]) == {"y": Reading(("logits",))}
    with pytest.raises(Misfit, match="nothing is said about the output `z`"):
        entry("to: graph").compared(["y", "z"], ["y"])


# -- published variants ----------------------------------------------------------------------------------------------


def test_published_arguments_and_variants_must_agree() -> None:
    body = """
to: graph
args: {width: 8, kind: plain, k: 3}
params: {dim: width, layer: {switch: kind, cases: {plain: {op: plain}, gated: {op: gated, k: k}}}}
published:
  a: {variant: small, args: {}}
  b: {variant: wide, args: {width: 16, kind: gated, k: 5}}
  c: {variant: wide, args: {width: 24, kind: gated, k: 5}}
  d: {args: {width: 4}}
  e: {variant: wide}
"""
    reference = entry(body)

    def width(name: str) -> Any:
        return reference.published_graph(name)[1].output_types[0].shape[1]

    assert [width(name) for name in "abde"] == [8, 16, 4, 16]
    with pytest.raises(Misfit, match="`dim` is 24 by the arguments, 16 in the variant `wide`"):
        width("c")


def test_flags_pass_into_block_valued_params() -> None:
    text = SPEC.replace("params: {k: 3}", "params: {k: 3, bias: true}").replace(
        "padding: k // 2", "padding: k // 2, bias: bias"
    )
    text += "\nreference:\n  a: {to: graph, params: {layer: {op: gated, bias: flag}}}\n"
    reference = references(loads(text).file)["a"]
    shape = {"image": (1, 3, 4, 4)}
    for flag in (True, False):
        env = reference.environment({"flag": flag}, shape)
        graph = reference.graph(env, reference.feed(shape, env))
        assert dict(graph.node("blocks").callee.args)["bias"] is flag


def test_published_shapes_are_examples_params_or_stated() -> None:
    text = SPEC.replace("image: [B, 3, H, W]", "image: {shape: [B, 3, side, W], at: [1, 3, 10, 12]}")
    text = text.replace("dim: 8", "dim: 8, side: 6")
    text += "\nreference:\n  a: {to: graph, args: {n: 7}, params: {side: n}, published: {a: {args: {}}}}\n"
    text += "  b: {to: plain, published: {b: {args: {}, at: {x: [1, 5, 2, 2]}}}}\n"
    found = references(loads(text).file)
    assert found["a"].published_graph("a")[1].input_types[0].shape == (1, 3, 7, 12)
    assert found["b"].published_graph("b")[1].output_types[0].shape == (1, 5, 2, 2)


# -- mistakes in the section -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("tot: graph", "key/unknown", "no `tot`"),
        ("args: {}", "reference/to", "`to`"),
        ("to: gated_block", "reference/to", "no graph or block `gated_block`"),
        ("to: graph\nparams: {dims: 3}", "key/unknown", "no `dims`"),
        ("to: gated\nparams: {dim: 3}", "key/unknown", "`gated` has no `dim`"),
        ("to: graph\nparams: {dim: 3 +}", "expr/syntax", "3 +"),
        ("to: graph\nparams: {layer: {op: plane}}", "op/unknown", "plane"),
        ("to: graph\nparams: {dim: {switch: a}}", "switch/cases", "cases"),
        ("to: graph\ninputs: {img: x}", "key/unknown", "no `img`"),
        ("to: graph\ninputs: {image: {from: x, op: conv2e}}", "op/unknown", "conv2e"),
        ("to: graph\ninputs: {image: {from: x, op: matmul}}", "change/operands", "matmul"),
        ("to: graph\ninputs: {image: {from: x, op: flip, dim: 1}}", "key/unknown", "`flip` has no `dim`"),
        ("to: graph\noutputs: {y: 3}", "reference/value", "names a value"),
        ("to: graph\noutputs: {y: {from: x, mode: trian}}", "reference/mode", "train"),
        ("to: tokens\ndims: {Q: 1}", "key/unknown", "no `Q`"),
        ("to: graph\nuse: nobody", "use/unknown", "nobody"),
        ("to: graph\nuse: other", "use/cycle", "other → other"),
        ("to: graph\nuse: [3]", "use/form", "names entries"),
        ("to: graph\nrename: {a..b: c}", "rename/pattern", "empty"),
        ("to: graph\nrename: {a: b c}", "rename/target", "b c"),
        ("to: graph\nrename: {a.$i: b.$j}", "rename/capture", "`$j` is not captured"),
        ("to: graph\nrename:\n  a.$i: b.${i + offset}", "name/unknown", "offset"),
        ("to: graph\nrename: {a: {part: 0, to: b, dim: x}}", "rename/part", "axis"),
        ("to: graph\nrename: {a: {part: -1, to: b}}", "rename/part", "number of a piece"),
        ("to: graph\nrename: {a: {to: [b, c]}}", "rename/many", "by an op"),
        ("to: graph\nrename: {a: {when: true}}", "rename/target", "no target"),
        ("to: graph\nrename: {a: {to: b, partt: 1}}", "key/unknown", "partt"),
        ("to: graph\nrename: {a: true}", "rename/target", "a target is"),
        ("to: graph\npublished: {a: {variant: smal}}", "key/unknown", "`host` has no `smal`"),
        ("to: graph\npublished: {a: {at: {x: [1]}}}", "published/form", "`variant`, `args`"),
        ("to: graph\nignored: {k: 1}\nparams: {dim: k}", "reference/ignored", "`k` is ignored, and read"),
        ("to: graph\nargs: {k: 1}\nlet: {k: 2}", "name/taken", "`k` is an argument"),
        ("to: graph\nalso: {a: b}", "also/form", "list of texts"),
        ("to: graph\nargs: [a]", "args/form", "a mapping"),
    ],
)
def test_mistakes(body: str, code: str, words: str) -> None:
    found = faults(body)
    assert [each for each in found if each[0] == code and words in each[1]], found


def test_short_names_must_be_clear() -> None:
    more = "  a.py::Attn: {to: graph}\n  b.py::Attn: {to: graph}\n"
    assert faults("to: graph\nuse: Attn", more) == [("use/several", "`Attn` may be a.py::Attn, b.py::Attn")]
    assert entry("to: graph\nuse: a.py::Attn", more=more).rules == ()


def test_paths_of_used_entries_do_not_nest() -> None:
    more = "  mid: {to: graph, use: [{of: low, at: a}]}\n  low: {to: graph, rename: {x: y}}\n"
    assert faults("to: graph\nuse: [{of: mid, at: b}]", more)[0][0] == "use/at"
    assert len(entry("to: graph\nuse: [mid]", more=more).rules) == 1


def test_shipped_references_have_no_faults() -> None:
    from archgraph.spec.spec_files import parse_file, shipped

    count = 0
    for paths in shipped().values():
        for path in paths:
            count += len(references(parse_file(path)))
    assert count > 0
