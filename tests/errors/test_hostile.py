"""Input made to exhaust memory or time, or to read what it should not: refused at once, with a place and a remedy."""

import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from archgraph.report.check import check_file
from archgraph.report.report import report

HEAD = "archgraph: 1\ninputs: {x: [B, 8]}\n"
DEEP = 10_000


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    """Ends a test that does not end by itself; what is refused takes milliseconds."""

    def late(*_: object) -> None:
        raise AssertionError("not refused in time")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def codes(folder: Path, text: str | bytes, name: str = "spec.yaml") -> list[str]:
    """The codes of all that is said about a file of that text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    faults = check_file(path).faults
    assert all(fault.message for fault in faults)
    return [fault.code for fault in faults]


def bomb(levels: int) -> str:
    """Aliases of aliases: ten times as much on every level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "archgraph: 1\n" + "\n".join(lines) + "\n"


def doubling(levels: int) -> str:
    """Blocks that each call the next one twice."""
    blocks = "".join(
        f"  b{k}: {{inputs: {{x: [B, C]}}, graph: {{p: {{op: b{k + 1}}}, q: {{op: b{k + 1}}}}}}}\n"
        for k in range(levels)
    )
    last = f"  b{levels}: {{inputs: {{x: [B, C]}}, graph: {{p: {{op: linear, out_features: C}}}}}}\n"
    return f"{HEAD}graph: {{a: {{op: b0}}}}\nblocks:\n{blocks}{last}"


def region(depth: int) -> str:
    """Graphs in graphs."""
    text = "relu"
    for _ in range(depth):
        text = f"{{graph: {{a: {text}}}}}"
    return f"{HEAD}graph: {{a: {text}}}\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (bomb(12), "yaml/anchor"),
        (HEAD + "notes: " + "[" * DEEP + "]" * DEEP + "\ngraph: {a: relu}\n", "yaml/depth"),
        (HEAD + "notes: " + "{a: " * DEEP + "1" + "}" * DEEP + "\ngraph: {a: relu}\n", "yaml/depth"),
        (HEAD + "\n".join(" " * k + "a:" for k in range(DEEP // 10)) + " 1\n", "yaml/depth"),
        (HEAD + "graph:\n  a:\n" + "    - " + "- " * DEEP + "relu\n", "yaml/depth"),
        (region(40), "yaml/depth"),
        (HEAD + "graph: {a: {op: linear, out_features: 8, repeat: 1000000000}}\n", "limit/turns"),
        (HEAD + "graph: {a: {op: linear, out_features: 8, for: {i: 10 ** 9}}}\n", "limit/turns"),
        (HEAD + "graph: {a: {op: linear, out_features: 8, each: {i: 10 ** 9}}}\n", "limit/turns"),
        (HEAD + "graph: {a: {op: linear, out_features: 8, for: {i: range(10 ** 9)}}}\n", "expr/value"),
        (HEAD + 'graph: {a: {op: linear, out_features: "len([0] * 10 ** 9)"}}\n', "expr/value"),
        (HEAD + "graph: {a: {op: linear, out_features: 9 ** 9 ** 9}}\n", "expr/value"),
        (HEAD + "params: {n: 10 ** 64}\nlet: {m: n ** 64}\ngraph: {a: {op: linear, out_features: m}}\n", "expr/value"),
        (HEAD + "graph: {a: {op: linear, out_features: " + "(" * DEEP + "8" + ")" * DEEP + "}}\n", "expr/syntax"),
        (HEAD + "graph: {a: {op: linear, out_features: " + "-" * DEEP + "8}}\n", "expr/syntax"),
        (HEAD + "graph: {a: {op: linear, out_features: " + "+".join(["1"] * DEEP) + "}}\n", "expr/syntax"),
        (HEAD + "graph: {a: {formula: " + "+".join(["x"] * DEEP) + "}}\n", "expr/syntax"),
        (
            HEAD + "graph: {a: {op: rearrange, pattern: " + " ".join(f"a{k}" for k in range(DEEP)) + " -> b}}\n",
            "type/op",
        ),
        (HEAD + f"graph: {{a: {{op: linear, out_features: {'9' * DEEP}}}}}\n", "yaml/scalar"),
        (doubling(40), "limit/size"),
        (HEAD + "graph: {a: {op: a}}\nblocks: {a: {inputs: {x: [B, C]}, graph: {a: {op: a}}}}\n", "limit/depth"),
        (
            HEAD + "graph: {a: {for: {i: 4000}, graph: {b: {for: {j: 4000}, graph: "
            "{c: {op: linear, out_features: 8 + i + j}}}}}}\n",
            "limit/size",
        ),
        (HEAD + "uses: [../../../../etc/passwd]\ngraph: {a: relu}\n", "uses/path"),
        (HEAD + "uses: [/etc/passwd]\ngraph: {a: relu}\n", "uses/path"),
        (HEAD + "uses: [spec]\ngraph: {a: relu}\n", "uses/cycle"),
        (b"\x00\x01\x02\xff", "yaml/encoding"),
        (HEAD.encode() + b"graph: {a: \xff\xfe}\n", "yaml/encoding"),
        (HEAD + "graph: {a: !!python/object/new:os.system [echo]}\n", "yaml/tag"),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value and len(value) < 20 else "",
)
def test_a_spec_can_not_exhaust_anything(tmp_path: Path, text: str | bytes, code: str) -> None:
    if code == "limit/size":  # a node is small, and there are at most so many
        assert code in codes(tmp_path, text)
        return
    tracemalloc.start()
    try:
        found = codes(tmp_path, text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code in found
    assert peak < 100 << 20


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    with path.open("wb") as handle:
        handle.truncate(100 << 20)
    (fault,) = check_file(path).faults
    assert fault.code == "yaml/size"
    assert "104,857,600 bytes" in fault.message


def test_a_library_in_a_circle_of_three(tmp_path: Path) -> None:
    for name, used in (("one", "two"), ("two", "three"), ("three", "one")):
        (tmp_path / f"{name}.yaml").write_text(
            f"archgraph: 1\nuses: [{used}]\nblocks: {{{name}: {{inputs: {{x: [B]}}, graph: {{a: relu}}}}}}\n"
        )
    (fault,) = check_file(tmp_path / "one.yaml").faults
    assert fault.code == "uses/cycle"
    assert "one.yaml → two.yaml → three.yaml → one.yaml" in fault.message


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("archgraph: 1\nblocks: {b: {inputs: {x: [B]}, graph: {a: relu}}}\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.yaml").symlink_to(secret)
    assert codes(inside, HEAD + "uses: [link]\ngraph: {a: {op: b}}\n") != []


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "."])
def test_what_is_no_file_is_not_read(name: str) -> None:
    assert check_file(name).faults[0].code.startswith(("yaml/", "file/"))


def test_sizes_beyond_any_machine_are_costed(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text(HEAD + "graph: {a: {op: linear, out_features: 10 ** 15}}\n")
    assert report(str(path)).params == 9 * 10**15


def test_a_graph_is_no_op_of_its_own_file(tmp_path: Path) -> None:
    """A file may be called as an op that it uses."""
    assert codes(tmp_path, HEAD + "graph: {a: {op: relu}}\n", "relu.yaml") == []
