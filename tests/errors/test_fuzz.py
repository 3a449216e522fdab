"""Whatever is written, a person is told what is wrong with it: `SpecError`, and nothing else, comes out of a loader.

Runs are derandomised: the same texts every time, so that a failure is nobody's bad luck.
"""

import random
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archgraph.ir.diagnostics import SpecError
from archgraph.report.check import check_file
from archgraph.spec.expr import ExprError, parse
from archgraph.spec.load import load
from archgraph.spec.spec_files import shipped
from archgraph.spec.yaml import load_yaml

fuzz = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_PIECES = """
archgraph: graph: graphs: blocks: inputs: params: let: outputs: variants: uses: requires: claims:
op: in: repeat: for: each: map: when: else: switch: cases: residual: shortcut: share: as: shape: formula:
list: scan: vjp: vmap: weights: carry: label: unused: frozen: training it x y 0 1 -1 2.5 1e-6 1.0e-6 true
null no 013 1:30 relu linear conv2d rearrange $x x.0 x... x.* [B, B] {a: (h + ** // % if else not and
[ ] { } ( ) , - ? : & * ! | > ' " # @ ` ~ << === --- ... \\ ${i} é 𝔘
"""
#: Pieces that mean something to YAML, to the expression language or to the graph language.
WORDS = [*_PIECES.split(), "\n", "\t", "\n  ", "\n    ", ": ", ", ", " -> ", "\u2028"]


def told(path: Path) -> None:
    """Everything that a person would see is there, and no other exception."""
    for fault in check_file(path).faults:
        assert fault.code
        assert fault.message
        assert str(fault)


@given(text=st.text(max_size=300) | st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
@fuzz
def test_any_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    told(path)


@given(body=st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
@fuzz
def test_any_body(body: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"archgraph: 1\ninputs: {{x: [B, 8, H, W]}}\ngraph:\n  a: {body}\n", encoding="utf-8")
    told(path)


@given(data=st.binary(max_size=200))
@fuzz
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    told(path)


@given(text=st.text(max_size=80) | st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join))
@fuzz
def test_any_expression(text: str) -> None:
    with suppress(ExprError):
        parse(text)


@given(text=st.text(max_size=80))
@fuzz
def test_any_yaml(text: str) -> None:
    with suppress(SpecError):
        load_yaml(text)


@cache
def sources() -> list[tuple[str, str]]:
    """The shipped specs that are small enough to be tried often."""
    paths = [path for paths in shipped().values() for path in paths]
    texts = [(str(path), path.read_text(encoding="utf-8")) for path in paths]
    return sorted(((name, text) for name, text in texts if len(text) < 12_000), key=lambda item: len(item[1]))


def mutated(text: str, rng: random.Random) -> str:
    """The text with one to three small changes, of the kinds that hands make."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        at = rng.randrange(len(text))
        kind = rng.randrange(9)
        tokens = list(re.finditer(r"[\w.$]+|[^\w\s]", text))
        token = rng.choice(tokens)
        if kind == 0:
            text = text[:at] + text[at + rng.randint(1, 8) :]
        elif kind == 1:
            text = text[: token.start()] + rng.choice(WORDS) + text[token.end() :]
        elif kind == 2:
            other = rng.choice(tokens)
            text = text[: token.start()] + other[0] + text[token.end() :]
        elif kind == 3:
            row = rng.randrange(len(lines))
            text = "\n".join(lines[:row] + lines[row + 1 :])
        elif kind == 4:
            row = rng.randrange(len(lines))
            text = "\n".join([*lines[:row], lines[row], *lines[row:]])
        elif kind == 5:
            row = rng.randrange(len(lines))
            text = "\n".join([*lines[:row], "  " + lines[row], *lines[row + 1 :]])
        elif kind == 6:
            numbers = list(re.finditer(r"\b\d+\b", text))
            if numbers:
                number = rng.choice(numbers)
                value = rng.choice(["0", "-1", "1", "7", "10 ** 9", "2.5", "true", "x", "[1, 2]"])
                text = text[: number.start()] + value + text[number.end() :]
        elif kind == 7:
            text = text[:at] + rng.choice(WORDS) + text[at:]
        else:
            a, b = sorted(rng.sample(range(len(lines)), 2))
            lines[a], lines[b] = lines[b], lines[a]
            text = "\n".join(lines)
    return text


@pytest.mark.parametrize("seed", range(12))
def test_mutated_specs(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        name, text = rng.choice(sources())
        path = tmp_path / Path(name).name
        changed = mutated(text, rng)
        path.write_text(changed, encoding="utf-8")
        try:
            told(path)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}:\n{changed}") from error


@given(
    value=st.text(max_size=30) | st.sampled_from(["1e400", "[", "{", "{op: relu}", "null", "[1, 2]", "$x", "-0", "1_0"])
)
@fuzz
def test_any_setting(value: str) -> None:
    with suppress(SpecError):
        load("alexnet", num_classes=value).graph()
