import csv
import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import archgraph
from archgraph.spec.spec_files import shipped
from tests.cli.running import run, run_alone
from tests.report.small import MACS, PARAMS, TINY
from tests.shared_files import CHECKOUT

COMMANDS = [
    *("build", "check", "compare", "diff", "draw", "dump", "find", "ops", "parity"),
    *("report", "rewrite", "rules", "schema", "specs", "verify"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    found = run(command, "--help")
    assert found.exit_code == 0
    assert f"archgraph {command}" in found.output.partition("Example")[2]


def test_every_command_of_every_group_has_an_example() -> None:
    import click
    import typer

    from archgraph.cli.app import app

    def walk(command: click.Command, path: str) -> list[str]:
        inner = getattr(command, "commands", None)
        if inner is not None:
            return [lost for name, below in inner.items() for lost in walk(below, f"{path} {name}")]
        return [] if f"Example:  {path}" in (command.help or "") else [path]

    assert walk(typer.main.get_command(app), "archgraph") == []


def test_all_commands_are_listed() -> None:
    found = run("--help")
    assert all(command in found.output for command in COMMANDS)
    assert run("--version").output.startswith("archgraph ")


# -- report ----------------------------------------------------------------------------------------------------------


def test_report_json_of_one_spec_is_an_object(tiny: Path) -> None:
    found = json.loads(run("report", tiny, "--variant", "narrow", "--json").output)
    assert (found["spec"], found["variant"], found["params"], found["macs"]) == ("tiny", "narrow", PARAMS, MACS)
    assert {"buffers", "flops", "activation_bytes"} <= found.keys()


def test_report_json_of_several_is_a_list(tiny: Path) -> None:
    repeated = [tiny, "-v", "narrow", "-v", "wide"]
    for arguments in ([f"{tiny}:narrow", f"{tiny}:wide"], repeated, [tiny, "--all-variants"]):
        found = json.loads(run("report", *arguments, "--json").output)
        assert [each["variant"] for each in found] == ["narrow", "wide"]
        assert found[0]["params"] == PARAMS


def test_report_as_a_tree(tiny: Path) -> None:
    found = run("report", tiny).output
    assert "blocks ×3" in found
    assert f"{PARAMS:,}" in found
    assert "free by declaration" in found
    assert "conv" not in run("report", tiny, "--depth", "0").output.partition("total")[0]


def test_report_of_several_is_a_row_each(tiny: Path) -> None:
    lines = [line for line in run("report", tiny, f"{tiny}:wide").output.splitlines() if line.startswith("tiny")]
    assert [line.split()[0] for line in lines] == ["tiny", "tiny:wide"]


def test_report_csv_and_markdown(tiny: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(run("report", tiny, "--csv").output)))
    assert lines[0]["params"] == str(PARAMS)
    assert len(list(csv.DictReader(io.StringIO(run("report", tiny, tiny, "--csv").output)))) == 2
    assert run("report", tiny, "--md").output.startswith("### tiny")
    assert run("report", tiny, tiny, "--md").output.startswith("|")


def test_report_settings_and_sizes(tiny: Path) -> None:
    found = json.loads(run("report", tiny, "--set", "depth=1", "--set", "classes=2 * 3", "--json").output)
    assert found["params"] == 216 + 576 + 54
    found = json.loads(run("report", tiny, "--at", "image=2x3x16x16", "--json").output)
    assert found["settings"]["image_size"] == 16
    assert found["macs"] == 2 * ((MACS - 40) * 4 + 40)
    assert json.loads(run("report", tiny, "--at", "1x3xNxN", "--json").output)["macs"] == "1944*N**2 + 40"


def test_report_of_a_graph_by_name(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    one = "inputs: {{x: [B, 4]}}, graph: {{y: {{op: linear, out_features: {n}}}}}"
    path.write_text(f"archgraph: 1\nname: two\ngraphs:\n  a: {{{one.format(n=1)}}}\n  b: {{{one.format(n=2)}}}\n")
    assert json.loads(run("report", path, "--json").output)["params"] == 5
    assert json.loads(run("report", path, "--graph", "b", "--json").output)["params"] == 10
    found = run("report", path, "--graph", "c")
    assert (found.exit_code, "no graph or block `c`" in found.stderr) == (1, True)


# -- check, verify, specs, ops, draw -----------------------------------------------------------------------------------


def test_check_shows_all_faults_and_fails(tmp_path: Path, tiny: Path) -> None:
    assert run("check", tiny).exit_code == 0
    broken = tmp_path / "broken.yaml"
    broken.write_text(TINY.replace("op: linear,", "op: linaer,").replace("act: relu", "act: rleu"))
    found = run("check", tiny, broken, "no-such-spec")
    assert found.exit_code == 1
    for part in ("broken.yaml:11:", "did you mean `linear`", "did you mean `relu`", "no-such-spec", "tiny.yaml: ok"):
        assert part in found.output
    (first, *_) = json.loads(run("check", broken, "--json").output)
    assert not first["ok"]
    assert {(fault["line"], fault["hint"]) for fault in first["faults"]} >= {
        (11, "did you mean `linear`?"),
        (17, "did you mean `relu`?"),
    }


def test_verify(tiny: Path) -> None:
    tiny.write_text(f"{TINY}claims: [{{params: {PARAMS}, source: by hand}}]\n")
    found = run("verify", tiny)
    assert found.exit_code == 0
    assert "1 exact" in found.output
    tiny.write_text(f"{TINY}claims: [{{params: 7}}]\n")
    found = run("verify", tiny)
    assert found.exit_code == 1
    assert "differs" in found.output
    claim, *others = json.loads(run("verify", tiny, "--json").output)
    assert [each["status"] for each in others] == ["unclaimed"] * 2
    assert (claim["ok"], claim["checks"][0]["ours"]) == (False, PARAMS)
    tiny.write_text(f"{TINY}claims: [{{parms: 7}}]\n")
    assert "claims/key" in run("verify", tiny).stderr


def test_schema_is_that_of_the_checkout() -> None:
    for flags, name in (((), "spec.json"), (("--rules",), "rule.json")):
        assert run("schema", *flags).stdout == (CHECKOUT / "schema" / name).read_text(encoding="utf-8")


def test_specs_lists_what_is_shipped() -> None:
    names = {entry["name"].partition("/")[0] for entry in json.loads(run("specs", "--json").output)}
    assert names == set(shipped())
    assert "vit" in run("specs").output


def test_ops() -> None:
    listed = run("ops").output
    assert "conv2d" in listed
    assert "[B, C_in, H, W]" in run("ops", "conv2d").output
    found = json.loads(run("ops", "conv2d", "--json").output)
    assert {a["name"]: a["default"] for a in found["attributes"]}["dilation"] in ("1", "[1, 1]")
    missing = run("ops", "conv2")
    assert (missing.exit_code, "did you mean `conv2d`" in missing.stderr) == (1, True)


def test_draw(tiny: Path, tmp_path: Path) -> None:
    assert run("draw", tiny).output.startswith('digraph "tiny" {')
    assert run("draw", tiny, "-o", tmp_path / "x.svg").exit_code == 0
    assert "<svg" in (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert "no drawing as `jpg`" in run("draw", tiny, "-o", tmp_path / "x.jpg").stderr
    assert "no/x.dot" in run("draw", tiny, "-o", tmp_path / "no" / "x.dot").stderr


def test_dump(tiny: Path, tmp_path: Path) -> None:
    """The written file says the same as the spec."""
    assert run("dump", tiny, "-v", "narrow", "-o", tmp_path / "closed.yaml").exit_code == 0
    found = json.loads(run("report", tmp_path / "closed.yaml", "--json").output)
    assert (found["params"], found["macs"]) == (PARAMS, MACS)
    assert run("dump", tiny, "-v", "narrow").output == (tmp_path / "closed.yaml").read_text(encoding="utf-8")
    assert run("check", tmp_path / "closed.yaml").exit_code == 0


# -- what users do wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["report"], 2, "Missing argument"),
        (["report", "TINY", "--depth", "-1"], 2, "--depth"),
        (["report", "TINY", "--json", "--csv"], 2, "choose one"),
        (["report", "TINY", "--all-variants", "-v", "wide"], 2, "choose one"),
        (["build", "TINY", "--reference", "x"], 2, "--weights"),
        (["reprot"], 2, "reprot"),
        (["report", "vitt"], 1, "did you mean `vit`"),
        (["report", "."], 1, "."),
        (["report", "nowhere/x.yaml"], 1, "no such file"),
        (["report", "TINY", "--variant", "wid"], 1, "did you mean `wide`"),
        (["report", "TINY:wide", "--variant", "wide"], 1, "names a variant already"),
        (["report", "TINY", "--set", "depth"], 1, "--set name=value"),
        (["report", "TINY", "--set", "dept=1"], 1, "did you mean `depth`"),
        (["report", "TINY", "--set", "self=1"], 1, "no param `self`"),
        (["report", "TINY", "--set", "name=1"], 1, "no param `name`"),
        (["report", "TINY", "--set", "depth=[1"], 1, "error["),
        (["report", "TINY", "--set", "depth=1.5"], 1, "error["),
        (["report", "TINY", "--set", "depth=99999999999"], 1, "error["),
        (["report", "TINY", "--set", "width=0"], 1, "error["),
        (["report", "TINY", "--at", "image=1x3x8"], 1, "3 axes"),
        (["report", "TINY", "--at", "img=1x3x8x8"], 1, "did you mean `image`"),
        (["report", "TINY", "--at", "image=1xx3x8"], 1, "error["),
        (["report", "TINY", "--plugin", "no_such_module"], 1, "no module `no_such_module`"),
        (["report", "TINY", "--plugin", "nowhere/ops.py"], 1, "no plugin nowhere/ops.py"),
        (["draw", "TINY", "-o", "."], 1, "no drawing"),
        (["ops", "no_such_op"], 1, "no op called"),
    ],
)
def test_mistakes_end_in_a_message(tiny: Path, arguments: list[str], code: int, text: str) -> None:
    found = run(*(argument.replace("TINY", str(tiny)) for argument in arguments))
    assert found.exit_code == code
    assert text in found.stderr


def test_faults_go_to_stderr_and_stdout_stays_clean(tiny: Path) -> None:
    found = run_alone("report", tiny, "--variant", "wid", "--json")
    assert (found.returncode, found.stdout) == (1, "")
    assert "\x1b" not in found.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00junk")
    found = run("report", path)
    assert (found.exit_code, "error[" in found.stderr) == (1, True)


def test_interruption_is_quiet(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("archgraph.report.report.report", interrupted)
    assert run("report", tiny).exit_code == 130


def test_a_disk_error_names_the_file(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.svg")

    monkeypatch.setattr(Path, "write_bytes", full)
    found = run("draw", tiny, "-o", "x.svg")
    assert (found.exit_code, "x.svg: No space left on device" in found.stderr) == (1, True)


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "archgraph", "ops"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == ""


def test_a_terminal_without_unicode(tiny: Path) -> None:
    found = run_alone("report", tiny, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert found.returncode == 0, found.stderr
    assert f"{PARAMS:,}" in found.stdout


def test_a_shipped_name_works_from_anywhere(tmp_path: Path) -> None:
    found = run_alone("report", "vit", "--json", cwd=tmp_path)
    assert json.loads(found.stdout)["params"] == archgraph.report("vit").params


def test_completion_of_names() -> None:
    from archgraph.cli.ops import complete_op
    from archgraph.cli.options import complete_spec

    assert "vit" in complete_spec("vi")
    assert complete_op("conv2") == ["conv2d"]
    found = run_alone(_ARCHGRAPH_COMPLETE="complete_bash", COMP_WORDS="archgraph report vi", COMP_CWORD="2")
    assert found.stdout.split() == ["vit"]
    found = run_alone(
        _ARCHGRAPH_COMPLETE="complete_bash", COMP_WORDS="archgraph report vit --variant sm", COMP_CWORD="4"
    )
    assert found.stdout.split() == ["small"]
