import re

import pytest

import archgraph
from archgraph.analysis.sizes import default_sizes, parse_at, with_sizes
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import sym
from archgraph.spec.load import Spec
from tests.report.small import TINY

PYRAMID = """\
archgraph: 1
name: pyramid
params: {widths: [4, 8]}
inputs:
  maps: {each: {c: widths}, list: [B, c, _, _], at: [[2, 1, 8, 8], [2, 1, 4, 4]]}
  scale: [B]
graph:
  fine: {op: conv2d, in: maps.0, out_channels: 2, kernel_size: 1}
  coarse: {op: conv2d, in: maps.1, out_channels: 2, kernel_size: 1}
outputs: {fine: fine, coarse: coarse}
"""


def shapes(spec: Spec, **at: object) -> dict[str, tuple[object, ...]]:
    return {name: t.shape for name, t in spec.graph(None, default_sizes(spec, None, at)).inputs}


def test_batch_is_one_and_params_tell_the_rest() -> None:
    assert shapes(archgraph.loads(TINY)) == {"image": (1, 3, 8, 8)}
    assert shapes(archgraph.loads(TINY, image_size=32)) == {"image": (1, 3, 32, 32)}


def test_sizes_that_are_given_set_params() -> None:
    spec = archgraph.loads(TINY)
    assert shapes(spec, image=(4, 3, 16, 16)) == {"image": (4, 3, 16, 16)}
    assert with_sizes(spec, None, {"image": (4, 3, 16, 16)}).params()["image_size"] == 16


def test_a_name_for_a_size_sets_the_param_to_a_symbol() -> None:
    spec = archgraph.loads(TINY)
    h = sym("H")
    assert with_sizes(spec, None, {"image": (1, 3, h, h)}).params()["image_size"] == h
    assert archgraph.report(spec, at={"image": (1, 3, h, h)}).macs == 1944 * h * h + 40


def test_examples_fill_what_is_free() -> None:
    spec = archgraph.loads(TINY.replace("[B, 3, image_size, image_size]", "{shape: [B, 3, H, W], at: [1, 3, 32, 48]}"))
    assert shapes(spec) == {"image": (1, 3, 32, 48)}
    assert shapes(spec, image=(1, 3, 8, 8)) == {"image": (1, 3, 8, 8)}


def test_examples_follow_params() -> None:
    shape = "{shape: [B, 3, H, W], at: [1, 3, image_size, 2 * image_size]}"
    spec = archgraph.loads(TINY.replace("[B, 3, image_size, image_size]", shape), image_size=16)
    assert shapes(spec) == {"image": (1, 3, 16, 32)}
    assert spec.example() == {"image": (1, 3, 16, 32)}


def test_an_example_does_not_overrule_a_param() -> None:
    text = TINY.replace("[B, 3, image_size, image_size]", "{shape: [B, 3, image_size, image_size], at: [2, 3, 8, 8]}")
    assert shapes(archgraph.loads(text, image_size=16)) == {"image": (2, 3, 16, 16)}


@pytest.mark.parametrize("value", [1.5, (1, 2), {"a": 1}])
def test_a_param_that_is_no_size_is_a_fault_of_the_spec(value: object) -> None:
    text = TINY.replace("[B, 3, image_size, image_size]", "{shape: [B, 3, image_size, image_size], at: [2, 3, 8, 8]}")
    with pytest.raises(SpecError):
        shapes(archgraph.loads(text, image_size=value))


def test_list_inputs_and_sizes_that_inputs_have_in_common() -> None:
    spec = archgraph.loads(PYRAMID.replace("  scale: [B]\n", ""))
    assert shapes(spec) == {"maps.0": (2, 4, 8, 8), "maps.1": (2, 8, 4, 4)}
    given = parse_at(["maps=1x4x6x6,1x8x3x3"], spec.block().inputs)
    assert shapes(spec, **given) == {"maps.0": (1, 4, 6, 6), "maps.1": (1, 8, 3, 3)}


def test_one_shape_for_a_list_input_is_a_list_of_one() -> None:
    spec = archgraph.loads(PYRAMID.replace("  scale: [B]\n", ""))
    assert parse_at(["1x4x6x6"], spec.block().inputs) == {"maps": ((1, 4, 6, 6),)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("img=1x3x8x8", "there is no input `img`.*did you mean `image`"),
        ("image=1x3x8x", "found: .*`` for a size"),
        ("image=1x3x0x8", "`0` for a size"),
        ("image=1x3x8.5x8", "`8.5` for a size"),
        ("image=", "`` for a size"),
        ("image=1x3x99999999999999999x8", "for a size"),
        ("image=1x3x8x8,1x3x4x4", "one tensor.*2 shapes"),
    ],
)
def test_unreadable_shapes(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_at([text], archgraph.loads(TINY).block().inputs)
    assert re.search(message, str(error.value), re.DOTALL)


def test_shapes_that_do_not_fit_are_faults_of_the_spec() -> None:
    spec = archgraph.loads(TINY)
    with pytest.raises(SpecError, match="3 axes"):
        shapes(spec, image=(1, 3, 8))
    with pytest.raises(SpecError, match="pattern"):
        shapes(spec, image=(1, 4, 8, 8))
