"""`archgraph rewrite`, `find` and `rules`."""

import json
from pathlib import Path

import pytest

from tests.cli.running import run, run_alone

RULE = """
archgraph: 1
rule: leaky
params: {slope: 0.01}
match: {inputs: {x: [..., C]}, graph: {act: {op: gelu, _: _}}}
replace: {graph: {act: {op: leaky_relu, negative_slope: slope}}}
relation: approximate
preserves: [shape, all weights]
"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # tables are not folded


def test_rewrite_shows_sites_costs_and_weights() -> None:
    found = run("rewrite", "vit", "--variant", "tiny", "--rule", "softmax_to_linear", "--expect", "12")
    assert found.exit_code == 0
    assert "blocks.*.attn × 12" in found.output
    assert "5,717,416" in found.output
    assert "5,717,452" in found.output
    assert "152 carried, 12 new" in found.output


def test_rewrite_as_json() -> None:
    found = json.loads(run("rewrite", "vit:tiny", "-r", "softmax_to_linear", "--json").output)
    assert found["after"]["params"] - found["before"]["params"] == 36
    assert found["steps"][0]["places"] == {"blocks.*.attn": 12}
    assert {"path": "blocks.0.attn.temperature", "is": "new", "from": ""} in found["weights"]


def test_rewrite_writes_a_spec_that_reports_the_same(tmp_path: Path) -> None:
    (tmp_path / "leaky.yaml").write_text(RULE)
    out = tmp_path / "leaky_vit.yaml"
    asked = ("--set", "depth=3", "--set", "slope=0.2", "--where", "blocks.*.mlp.act1", "--expect", "3")
    found = run("rewrite", "vit", "-r", tmp_path / "leaky.yaml", *asked, "-o", out, "--json")
    assert found.exit_code == 0
    assert "slope: 0.2" in out.read_text()
    after = json.loads(found.output)["after"]
    report = json.loads(run("report", out, "--json").output)
    assert {k: report[k] for k in ("params", "macs", "flops")} == {k: after[k] for k in ("params", "macs", "flops")}
    assert run("check", out).exit_code == 0


def test_no_site_is_an_error_with_the_nearest_miss(tmp_path: Path) -> None:
    rule = tmp_path / "leaky.yaml"
    rule.write_text(RULE.replace("op: gelu, _: _", "op: gelu, approximate: tanh"))
    found = run("rewrite", "vit", "-r", rule, "-o", tmp_path / "out.yaml")
    assert found.exit_code == 1
    assert "its approximate is none, wanted tanh" in found.stderr
    assert not (tmp_path / "out.yaml").exists()


def test_a_wrong_rule_names_file_line_and_reason(tmp_path: Path) -> None:
    rule = tmp_path / "wrong.yaml"
    rule.write_text(RULE.replace("leaky_relu", "leaky_rellu"))
    found = run("rewrite", "vit", "-r", rule)
    assert found.exit_code == 1
    assert f"{rule}:6:29: error[op/unknown]" in found.stderr
    assert "did you mean `leaky_relu`?" in found.stderr


def test_find_by_block_op_node_and_rule() -> None:
    assert "blocks.*.attn × 12" in run("find", "mhsa", "vit").output
    assert "blocks.*.mlp.act1 × 12" in run("find", "gelu", "vit").output
    assert "stem.conv1 × 1" in run("find", "{op: conv2d, kernel_size: 7, _: _}", "resnet").output
    found = json.loads(run("find", "softmax_to_linear", "vit", "--where", "blocks.2.attn", "--json").output)
    assert found["places"] == {"blocks.2.attn": 1}
    nowhere = run("find", "{op: conv2d, kernel_size: 5, _: _}", "resnet")
    assert nowhere.exit_code == 1
    assert "nearest miss" in nowhere.stderr
    assert run("find", "mhsaa", "vit").exit_code == 1


def test_rules_lists_and_shows() -> None:
    assert "softmax_to_linear" in run("rules").output
    assert "relation: approximate" in run("rules", "add_eca").output
    assert json.loads(run("rules", "add_eca", "--json").output)["params"] == {"k_size": "None"}
    assert run("rules", "add_ecca").exit_code == 1


def test_the_example_of_the_how_to(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "write-a-rule.md").read_text(encoding="utf-8")
    (tmp_path / "leaky.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    for command in ("find leaky.yaml vit", "rewrite vit --variant tiny --rule leaky.yaml --set slope=0.1 --expect 12"):
        assert command in text
        assert run_alone(*command.split(), cwd=tmp_path).returncode == 0


def test_the_crossing_of_closed_forms_is_told(tmp_path: Path) -> None:
    spec = tmp_path / "tokens.yaml"
    spec.write_text(
        "archgraph: 1\nname: tokens\nuses: [blocks/transformer]\ninputs: {x: [B, N, 192]}\n"
        "graph: {attn: {op: mhsa, num_heads: 3}}\n"
    )
    found = run("rewrite", spec, "-r", "softmax_to_linear")
    assert "crossing more MACs from N = 1, fewer from 65" in found.output
