"""Study files: what they mean, and the errors for what they must not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from archgraph.ir.diagnostics import SpecError
from archgraph.ops.plugins import use
from archgraph.search.schema import study_schema
from archgraph.search.study_file import load_study
from archgraph.spec.schema import schema_text
from archgraph.spec.yaml import load_yaml, read_source
from tests.search.studies import STUDY, write
from tests.shared_files import CHECKOUT
from tools.schema import STUDIES

SHIPPED = sorted((CHECKOUT / "search").glob("*.yaml"))


def test_the_schema_file_is_up_to_date() -> None:
    assert STUDIES.read_text(encoding="utf-8") == schema_text(study_schema()), "run `make docs`"
    Draft7Validator.check_schema(study_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_studies_are_valid(path: Path) -> None:
    tree = json.loads(json.dumps(load_yaml(read_source(path))))
    assert [e.message for e in Draft7Validator(study_schema()).iter_errors(tree)] == []
    for plugin in tree.get("plugins", ()):
        use(str(path.parent / plugin))
    study = load_study(path)
    assert study.name == path.stem
    assert study.summary


def test_meaning(tmp_path: Path) -> None:
    study = load_study(write(tmp_path))
    assert [p.name for p in study.space.parameters] == ["dim", "depth", "heads", "act"]
    assert study.metrics == ("macs", "params")
    assert [str(c) for c in study.hard] == ["params ≤ 4000"]
    assert (study.sampler.kind, study.storage, study.seed) == ("tpe", "journal", 0)
    assert not study.trained


def test_conditions_and_scoped_names(tmp_path: Path) -> None:
    text = STUDY.replace("  act: [relu, gelu]\n", "").replace(
        "objectives: {macs: minimize, params: maximize}",
        "objectives: {macs: minimize, accuracy: maximize}\ndata: {kind: digits}",
    )
    text = text.replace(
        "  heads: [1, 2, 3, 4]\n",
        "  heads: [1, 2, 3, 4]\n  wide: [false, true]\n  widths.1: {range: [8, 16], when: wide}\n"
        "  train.lr: {range: [1, 2], log: true, when: depth > 1 and wide}\n",
    )
    study = load_study(write(tmp_path, text))
    space = study.space
    values = {"dim": 8, "depth": 1, "heads": 2, "wide": True, "widths.1": 12, "train.lr": 1.5}
    found = space.assignment(values, {})
    assert found.settings == {"dim": 8, "depth": 1, "heads": 2, "wide": True, "widths": (4, 12)}
    assert found.inactive == {"train.lr"}
    assert found.train == {}
    canonical, inactive = space.canonical({**values, "wide": False})
    assert inactive == {"widths.1", "train.lr"}
    assert (canonical["widths.1"], canonical["train.lr"]) == (8, 1.0)
    assert space.assignment({**values, "depth": 2}, {}).train == {"lr": 1.5}


BROKEN = [
    ("trials: 8", "trails: 8", "key/unknown", "did you mean `trials`"),
    ("archgraph: 1\nname: small", "name: small", "file/version", "archgraph: 1"),
    ("  dim: {range", "  dims: {range", "space/name", "did you mean `dim`"),
    ("range: [4, 64]", "range: [64, 4]", "space/range", "[64, 4]"),
    ("range: [4, 64]", "ranges: [64, 4]", "key/unknown", "did you mean `range`"),
    ("{range: [1, 3]}", "3", "space/domain", "[1, 2, 4]"),
    ("{range: [1, 3]}", "{range: [1, 3], choices: [1]}", "space/domain", "one of"),
    ("{range: [1, 3]}", "{range: [1, 3], when: actt == 'relu'}", "space/when", "`actt`"),
    ("{range: [1, 3]}", "{range: [1, 3], when: dim >}", "space/when", "small.yaml"),
    ("{range: [1, 3]}", "{range: [0, 3], log: true}", "space/range", "above 0"),
    ("[relu, gelu]", "[relu, gelo]", "space/choices", "did you mean `gelu`"),
    ("[relu, gelu]", "[relu, relu]", "space/choices", "twice"),
    ("  act: [", "  train.lrr: [", "space/name", "did you mean `train.lr`"),
    ("  act: [relu, gelu]", "  widths.2: [1, 2]", "space/name", "widths.0 to widths.1"),
    ("  act: [relu, gelu]", "  dim.0: [1, 2]", "space/name", "no list-valued"),
    ("  act: [relu, gelu]", "  variant: [small]", "space/choices", "no variant"),
    ("  act: [relu, gelu]", "  act: {rewrites: [linear]}", "space/name", "another name"),
    ("{params: {max: 4000}}", "{parms: {max: 4000}}", "metric/unknown", "did you mean `params`"),
    ("{params: {max: 4000}}", "{params: 4000}", "constraints/limit", "{max: 200000}"),
    ("macs: minimize", "macs: minimise", "study/direction", "did you mean `minimize`"),
    ("macs: minimize", "accuracy: maximize", "study/missing", "`data`"),
    ("macs: minimize", "flop: minimize", "metric/unknown", "did you mean `flops`"),
    ("trials: 8", "", "study/missing", "a study ends"),
    ("trials: 8", "trials: 0", "study/value", "at least 1"),
    ("trials: 8", "trials: 8\nsampler: tpr", "study/kind", "did you mean `tpe`"),
    ("trials: 8", "trials: 8\nsampler: {kind: tpe, n_startup: 3}", "key/unknown", "did you mean `n_startup_trials`"),
    ("trials: 8", "trials: 8\npruner: median", "study/pruner", "trained"),
    ("trials: 8", "trials: 8\ndata: {kind: folder}", "study/missing", "`path`"),
    ("trials: 8", "trials: 8\ntrain: {epochs: 0}", "study/value", "at least 1"),
    ("trials: 8", "trials: 8\nset: {dimm: 3}", "set/unknown", "did you mean `dim`"),
    ("trials: 8", "trials: 8\nat: {y: [1]}", "at/unknown", "no input `y`"),
    ("trials: 8", "trials: 8\nplugins: [nobody_has_this]", "plugin/missing", "--plugin"),
    ("[relu, gelu]\n", "[relu, gelu]\n  train.lr: {range: [0.1, 1]}\nsampler: grid\n", "study/grid", "a `step`"),
    ("[relu, gelu]\n", "[relu, gelu]\n  widths.0: {range: [1, 999]}\nsampler: grid\n", "study/grid", "383,616"),
    ("trials: 8", "trials: 8\nmachine: h100sxm", "device/unknown", "did you mean `h100-sxm`"),
    ("trials: 8", "trials: 8\nmachine: [t4]", "machine/form", "flops_per_second"),
    ("trials: 8", "trials: 8\nmachine: {device: t4, dtype: bfloat16}", "device/dtype", "no rate for `bfloat16`"),
    ("trials: 8", "trials: 8\nmachine: {dtype: bf16}", "study/value", "bfloat16"),
    ("trials: 8", "trials: 8\nmachine: {device: t4, flops_per_second: 5.0}", "study/machine", "not both"),
    ("macs: minimize", "energy: minimize", "study/machine", "machine: h100-sxm"),
    ("{params: {max: 4000}}", "{params: {min: 4000, max: 40}}", "constraints/limit", "at most 40"),
    ("name: small", "name: ../small", "name/form", "../small"),
    ("name: small", "name: ..", "name/form", "letters"),
    ("spec: tiny.yaml", "spec: vit:huge", "variant/unknown", "tiny, small"),
    ("spec: tiny.yaml", "spec: tinny", "spec/unknown", "tinny"),
]


@pytest.mark.parametrize(("old", "new", "code", "says"), BROKEN, ids=[f"{b[2]}-{k}" for k, b in enumerate(BROKEN)])
def test_errors_name_place_and_remedy(tmp_path: Path, old: str, new: str, code: str, says: str) -> None:
    assert old in STUDY
    with pytest.raises(SpecError) as caught:
        load_study(write(tmp_path, STUDY.replace(old, new)))
    found = [d for d in caught.value.diagnostics if d.code == code]
    assert found, str(caught.value)
    assert found[0].at is not None
    assert found[0].at.file.endswith("small.yaml")
    assert says in str(found[0])


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = STUDY.replace("dim:", "dimm:").replace("minimize", "min").replace("trials: 8", "trials: none")
    with pytest.raises(SpecError) as caught:
        load_study(write(tmp_path, text))
    assert {d.code for d in caught.value.diagnostics} == {"space/name", "study/direction", "study/value"}


@pytest.mark.parametrize(
    ("machine", "name", "dtype", "rate"),
    [
        ("raspberry-pi-5", "raspberry-pi-5", "float32", 76.8e9),
        ("{device: a100-sxm, dtype: int8}", "a100-sxm", "int8", 312e12),
        ("own.yaml", "own", "float16", 3e9),
        ("{flops_per_second: 4.0e+9, bytes_per_second: 1.0e+9}", "machine", "float32", 2e9),
        ("{dtype: bfloat16}", "machine", "bfloat16", 2.5e10),
    ],
)
def test_machines(tmp_path: Path, machine: str, name: str, dtype: str, rate: float) -> None:
    own = "archgraph: 1\nmacs_per_second: {float16: 3.0e+9}\nbytes_per_second: 1.0e+9\n"
    (tmp_path / "own.yaml").write_text(own, encoding="utf-8")
    text = STUDY + f"machine: {machine}\n"
    found = load_study(write(tmp_path, text)).machine
    assert found is not None
    assert (found.device.name, found.dtype, found.device.macs_per_second[dtype]) == (name, dtype, rate)
    tree = json.loads(json.dumps(load_yaml(text)))
    assert [e.message for e in Draft7Validator(study_schema()).iter_errors(tree)] == []


def test_a_time_has_a_machine_and_nothing_else_needs_one(tmp_path: Path) -> None:
    assert load_study(write(tmp_path)).machine is None
    study = load_study(write(tmp_path, STUDY.replace("macs: minimize", "roofline: minimize")))
    assert study.machine is not None
    assert study.machine.device.bytes_per_second == 1e10
