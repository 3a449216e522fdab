"""Cases made on the spot: what parity builds, loads, runs and compares, and how it says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archgraph.cli.parity import run
from archgraph.lower.parity import run_case
from archgraph.spec import reference_find
from tests.parity.case_files import record, uneven

Write = Callable[..., None]


@pytest.fixture
def write_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes a text the only shipped spec of the paper `lab`."""
    specs = tmp_path / "specs"
    specs.mkdir()

    def write(text: str, name: str = "lab") -> None:
        path = specs / f"{name}.yaml"
        path.write_text(f"archgraph: 1\nname: {name}\n{text}", encoding="utf-8")
        shipped = {file.stem: [file] for file in sorted(specs.glob("*.yaml"))}
        monkeypatch.setattr(reference_find, "shipped", lambda: shipped)
        monkeypatch.setattr(reference_find, "specs_folder", lambda: specs)

    return write


class Net(nn.Module):
    """Separate projections, a 1x1 convolution as a linear layer, a buffer, and a layer that never runs."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.to_q = nn.Linear(4, dim, bias=False)
        self.to_k = nn.Linear(4, dim, bias=False)
        self.kv = nn.Linear(4, 2 * dim)
        self.fc = nn.Conv1d(dim, 3, 1)
        self.norm = nn.BatchNorm1d(3)
        self.spare = nn.Linear(2, 2)
        self.register_buffer("mask", torch.ones(3))

    def scores(self, x: Tensor) -> Tensor:
        return self.to_q(x) * self.to_k(x)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.kv(x).chunk(2, -1)
        y = self.scores(x) + k * v
        return self.norm(self.fc(y.transpose(1, 2)))


SPEC = """
params: {dim: 8}
inputs: {tokens: [B, N, C]}
graph:
  qk: {op: linear, out_features: 2 * dim, bias: false}
  halves: {op: chunk, chunks: 2, dim: -1, as: [q, k]}
  scores: {formula: q * k}
  key: {op: linear, in: tokens, out_features: dim}
  value: {op: linear, in: tokens, out_features: dim}
  y: {formula: scores + key * value}
  fc: {op: linear, out_features: 3}
  map: {op: rearrange, pattern: b n c -> b c n}
  norm: batch_norm1d
  two: {op: slice, in: tokens, dim: 2, stop: 2, unused: true}
  spare: {op: linear, in: two, out_features: 2, unused: true}
outputs: {logits: norm}
"""
REFERENCE = """
reference:
  lib.py::Net:
    to: graph
    args: {dim: 6}
    params: {dim: dim}
    OUTPUTS
    rename:
      to_q: {to: qk, part: 0}
      to_k: {to: qk, part: 1}
      kv: {to: [key, value], op: chunk}
      fc.weight: {op: rearrange, pattern: o i 1 -> o i}
      mask: null
"""


def reference(outputs: str = "") -> str:
    return REFERENCE.replace("OUTPUTS", outputs or "inputs: {tokens: x}")


@pytest.fixture
def net() -> Net:
    found = Net()
    uneven(found)
    return found.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 5, 4)


def test_a_case_passes_through_every_kind_of_rename(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    write_spec(SPEC + reference())
    row = run_case(record(tmp_path / "lab" / "one", net, {"x": x}, {"y": net(x)}))
    assert (row.verdict, row.reason) == ("pass", "")
    assert (row.paper, row.case, row.spec) == ("lab", "one", "lab")
    assert row.params == row.params_expected == sum(p.numel() for p in net.parameters())
    assert row.max_abs_error is not None
    assert row.max_abs_error < 1e-5


def test_values_inside_are_compared(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    outputs = "outputs: {y: logits, s: scores, k: halves.1, st: {from: scores, pattern: b n c -> c (b n)}}"
    write_spec(SPEC + reference(outputs))
    inside = {"y": net(x), "s": net.scores(x), "k": net.to_k(x), "st": net.scores(x).permute(2, 0, 1).flatten(1)}
    assert run_case(record(tmp_path / "lab" / "good", net, {"x": x}, inside)).verdict == "pass"
    inside["k"] = net.to_q(x)
    row = run_case(record(tmp_path / "lab" / "bad", net, {"x": x}, inside))
    assert row.verdict == "fail"
    assert row.reason.startswith("`k` differs by")


def test_values_inside_composites_and_turns(tmp_path: Path, write_spec: Write) -> None:
    text = """
inputs: {x: [B, 4]}
graph:
  stem: {op: linear, out_features: 4}
  blocks: {op: unit, repeat: 3}
  last: {op: unit}
blocks:
  unit:
    inputs: {x: [B, C]}
    graph:
      fc: {op: linear, out_features: C}
      act: relu
      two: {op: chunk, chunks: 2, dim: 1, as: [a, b]}
      sum: {op: cat, in: [b, a], dim: 1}
reference:
  lib.py::Net:
    to: graph
    outputs: {y: last, mid: blocks.1.act, turn: blocks.0, half: blocks.2.two.1, all: blocks, inner: last.fc}
"""
    write_spec(text)

    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.fc(x).relu().chunk(2, 1)
            return torch.cat([b, a], 1)

    theirs = nn.Module()
    theirs.stem, theirs.last = nn.Linear(4, 4), Unit()
    theirs.blocks = nn.Sequential(Unit(), Unit(), Unit())
    uneven(theirs)
    x = torch.randn(3, 4)
    first = theirs.blocks[0](theirs.stem(x))
    mid = theirs.blocks[1].fc(first).relu()
    third = theirs.blocks[2].fc(theirs.blocks[1](first)).relu()
    chain = theirs.blocks(theirs.stem(x))
    outputs = {
        "y": theirs.last(chain),
        "mid": mid,
        "turn": first,
        "half": third.chunk(2, 1)[1],
        "all": chain,
        "inner": theirs.last.fc(chain),
    }
    row = run_case(record(tmp_path / "lab" / "deep", theirs, {"x": x}, outputs))
    assert (row.verdict, row.reason) == ("pass", "")
    for name in outputs:
        wrong = {**outputs, name: outputs[name] + 0.01}
        row = run_case(record(tmp_path / "lab" / f"deep_{name}", theirs, {"x": x}, wrong))
        assert (row.verdict, row.reason[: len(name) + 2]) == ("fail", f"`{name}`")


def test_train_then_eval(tmp_path: Path, write_spec: Write) -> None:
    text = """
inputs: {x: [B, 3]}
graph: {bn: batch_norm1d}
reference:
  lib.py::Net:
    to: graph
    outputs: {train: {from: bn, mode: train}, eval: bn}
"""
    write_spec(text)
    theirs = nn.ModuleDict({"bn": nn.BatchNorm1d(3)})
    uneven(theirs)
    x = torch.randn(8, 3)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    train = theirs["bn"].train()(x)
    after = theirs["bn"].eval()(x)
    theirs.load_state_dict(state)
    frozen = theirs["bn"].eval()(x)
    good = record(tmp_path / "lab" / "a", theirs, {"x": x}, {"train": train, "eval": after}, mode="train then eval")
    assert run_case(good).verdict == "pass"
    mode = "train (BN frozen) then eval"
    good = record(tmp_path / "lab" / "b", theirs, {"x": x}, {"train": frozen, "eval": frozen}, mode=mode)
    assert run_case(good).verdict == "pass"
    bad = record(tmp_path / "lab" / "c", theirs, {"x": x}, {"train": train, "eval": after}, mode="eval")
    assert run_case(bad).reason.startswith("`eval` differs")


def test_lists_integers_and_masks(tmp_path: Path, write_spec: Write) -> None:
    text = """
inputs: {maps: {list: [B, C]}, ids: {shape: [B], dtype: int64}, keep: {shape: [B], dtype: bool}}
graph:
  embed: {op: embedding, in: ids, num_embeddings: 7, embedding_dim: 4}
  total: {op: add, in: [maps..., embed]}
  flags: {op: rearrange, in: keep, pattern: b -> b 1}
  y: {op: where, in: [flags, embed, total]}
  parts: {list: [total, embed]}
outputs: {y: y, parts: parts}
reference:
  lib.py::Net: {to: graph, inputs: {maps: c}, unread: [extra], outputs: {o: parts}}
"""
    write_spec(text)
    theirs = nn.ModuleDict({"embed": nn.Embedding(7, 4)})
    a, b, ids, keep = torch.randn(2, 4), torch.randn(2, 4), torch.tensor([3, 6]), torch.tensor([0, 1])
    embed = theirs["embed"](ids)
    total = a + b + embed
    outputs = {"y": torch.where(keep.bool()[:, None], embed, total), "o.0": total, "o.1": embed}
    inputs = {"c.0": a, "c.1": b, "ids": ids, "keep": keep, "extra": torch.zeros(1)}
    row = run_case(record(tmp_path / "lab" / "lists", theirs, inputs, outputs))
    assert (row.verdict, row.reason) == ("pass", "")


def test_an_output_that_is_not_compared_is_told(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    write_spec(SPEC + reference("outputs: {y: logits, flops: null}"))
    row = run_case(record(tmp_path / "lab" / "c", net, {"x": x}, {"y": net(x), "flops": torch.tensor(3)}))
    assert (row.verdict, row.reason) == ("pass", "not compared: flops")


# -- what goes wrong -------------------------------------------------------------------------------------------------


def failing(folder: Path, net: Net, x: Tensor, reason: str, **head: Any) -> None:
    outputs = head.pop("outputs", {"y": net(x)})
    row = run_case(record(folder, net, head.pop("inputs", {"x": x}), outputs, **head))
    assert row.verdict == "fail"
    assert reason in row.reason


def test_every_fault_is_a_failed_row(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    write_spec(SPEC + reference())
    lab, y = tmp_path / "lab", net(x)
    failing(lab / "a", net, x, "`y` differs by", outputs={"y": y + 2e-4 * max(1, y.abs().max())})
    failing(lab / "b", net, x, "`y` has shape [2, 3, 5], expected [2, 5, 3]", outputs={"y": y.transpose(1, 2)})
    failing(lab / "c", net, x, "differs by inf", outputs={"y": y * torch.nan})
    failing(lab / "d", net, x, "parameters, expected 7", params=7)
    failing(lab / "e", net, x, "unknown argument `dims` (`dim`?)", args={"dims": 6})
    failing(lab / "f", net, x, "6 shape: fc.weight has shape [3, 5], fc.weight [3, 6]", args={"dim": 5})
    failing(lab / "g", net, x, "nothing reads the input mask", inputs={"x": x, "mask": x})
    failing(lab / "h", net, x, "nothing is said about the output `z`", outputs={"logits": y, "z": y})
    net.register_buffer("extra", torch.ones(2))
    failing(lab / "i", net, x, "extra [2]: not ours")
    del net.extra, net.fc.bias
    net.fc.register_parameter("bias", None)
    failing(lab / "j", net, x, "fc.bias [3]: nothing becomes it", outputs={"y": y})


def test_a_small_difference_is_allowed(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    write_spec(SPEC + reference())
    y = net(x)
    case = record(tmp_path / "lab" / "near", net, {"x": x}, {"y": y + 0.5e-4 * max(1, y.abs().max())})
    assert run_case(case).verdict == "pass"


def test_files_that_can_not_be_read_are_failed_rows(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    write_spec(SPEC + reference())
    case = record(tmp_path / "lab" / "c", net, {"x": x}, {"y": net(x)})
    (case / "tensors.safetensors").write_bytes(b"no tensors")
    assert "can't be read" in run_case(case).reason
    (case / "tensors.safetensors").unlink()
    assert "can't be read" in run_case(case).reason
    for text, reason in (
        ("a: [", "can't be read"),
        ("a: 1", "`official`"),
        ("{official: x, args: 3}", "`args` is a mapping"),
    ):
        (case / "case.yaml").write_text(text)
        row = run_case(case)
        assert row.verdict == "fail"
        assert reason in row.reason


def test_broken_specs_are_told(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    case = record(tmp_path / "lab" / "c", net, {"x": x}, {"y": net(x)})
    write_spec(SPEC + reference().replace("to: graph", "to: grapf"))
    row = run_case(case)
    assert (row.verdict, row.spec) == ("fail", "lab")
    assert "no graph or block `grapf`" in row.reason
    elsewhere = run_case(record(tmp_path / "else" / "c", net, {"x": x}, {"y": net(x)}))
    assert elsewhere.verdict == "unmapped"
    assert elsewhere.reason.endswith("not read for their faults: lab")
    write_spec(SPEC + reference().replace("dim: dim", "dim: dim + 1"))
    assert run_case(case).verdict == "fail"


def test_the_first_entry_that_fits_counts(tmp_path: Path, write_spec: Write, net: Net, x: Tensor) -> None:
    other = "\n  decoy: {also: lib.py::Net, to: graph, when: kind == 'B'}\n  late: {also: lib.py::Net, to: graph}\n"
    write_spec("graph: {y: relu}\ninputs: {x: [B, N, C]}\nreference:\n  lib.py::Net: {to: graph}\n", "other")
    write_spec(SPEC + "reference:" + other.split("late")[0].rstrip() + reference().partition("reference:")[2])
    row = run_case(record(tmp_path / "lab" / "c", net, {"x": x}, {"y": net(x)}))
    assert (row.verdict, row.spec) == ("pass", "lab")  # the paper's own spec, though `other` is no worse a name
    row = run_case(record(tmp_path / "other" / "c", net, {"x": x}, {"y": net(x)}))
    assert (row.verdict, row.spec) == ("fail", "other")
    row = run_case(record(tmp_path / "lab" / "d", net, {"x": x}, {"y": net(x)}, args={"dim": 6, "depth": 1}))
    assert "does not hold (decoy)" in row.reason
    assert "unknown argument `depth` (lib.py::Net)" in row.reason


def test_the_command_line(
    tmp_path: Path, write_spec: Write, net: Net, x: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spec(SPEC + reference())
    cases = tmp_path / "cases"
    record(cases / "lab" / "good", net, {"x": x}, {"y": net(x)})
    record(cases / "lab" / "stray", net, {"x": x}, {"y": net(x)}, official="nobody's")
    assert run([cases], json=True) == 0
    found = json.loads(capsys.readouterr().out)["cases"]
    assert [(row["case"], row["verdict"]) for row in found] == [("good", "pass"), ("stray", "unmapped")]
    assert list(found[0]) == [
        "paper",
        "case",
        "unit",
        "spec",
        "params",
        "params_expected",
        "max_abs_error",
        "verdict",
        "reason",
    ]
    record(cases / "lab" / "bad", net, {"x": x}, {"y": -net(x)})
    assert run([cases, cases / "lab" / "bad"], json=False) == 1
    text = capsys.readouterr().out
    assert "3 cases: 1 pass, 1 fail, 1 unmapped" in text
    assert run([tmp_path / "specs"], json=False) == 2
    assert "no case.yaml" in capsys.readouterr().err
