"""``accelsim run --rewrite``: the search over forms of a cascade from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import accelsim

PLAIN = ("fusemax", "attention_3pass", "--bind", "h=2", "--bind", "m=2048", "--bind", "p=2048")


def test_the_form_that_is_found_runs_again(tmp_path: Path) -> None:
    found, mapping = tmp_path / "found.yaml", tmp_path / "mapping.yaml"
    saved = "--save-cascade", str(found), "--save-mapping", str(mapping), "--json"
    ran = accelsim("run", *PLAIN, "--mapper", "cascade", "--rewrite", *saved)
    assert ran.code == 0, ran.output
    assert "running: " in ran.output  # among the steps, on stderr
    again = accelsim("run", "fusemax", found, "--mapping", str(mapping), "--json")
    assert again.code == 0, again.output
    told = json.loads(ran.output[ran.output.index("{\n") :])
    assert json.loads(again.output)["cycles"] == told["cycles"]
    fixed = accelsim("run", *PLAIN, "--mapper", "cascade", "--json")
    assert told["cycles"] < json.loads(fixed.output)["cycles"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--rewrite",), "--rewrite goes with --mapper cascade, not auto"),
        (("--rewrite", "--mapper", "cascade", "--mapping", "x.yaml"), "give one of them"),
        (("--save-cascade", "x.yaml"), "--save-cascade goes with --rewrite"),
    ],
)
def test_options_that_do_not_go_together(given: tuple[str, ...], message: str) -> None:
    ran = accelsim("run", "fusemax", "attention_3pass", *given)
    assert ran.code == 2
    assert message in ran.output


def test_what_is_no_cascade_is_refused() -> None:
    ran = accelsim("run", "edge_npu", "mobilenet_v2", "--mapper", "cascade", "--rewrite")
    assert ran.code == 2
    assert "cascade" in ran.output
