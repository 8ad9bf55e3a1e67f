"""``accelsim run``: one model on one machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput, SpecError
from . import completion, options, outputs
from .working import working

if TYPE_CHECKING:
    from ..arch.architecture import Architecture
    from ..ir import Workload
    from ..mapping.constraints import Constraints
    from ..mapping.tree import Mapping
    from ..study.span import Scalar

RECORDED_FOR_PAGE = 3000
"""Firings that the timeline of a report page shows at most."""
FOR_GRAPHS = ("arch", "size_fifos", "json_", "html", "perfetto")
"""Options that go with a stream graph."""

ModelRef = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="A model: .onnx file, onnx:NAME, config .json, or a name of the zoo. Without one, "
        "ARCH is a stream graph in YAML.", autocompletion=completion.of("models"),
    ),
]  # fmt: skip
TimeLimit = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="End the search of a mapper that can stop early; as Ctrl-C does, its best "
                 "mapping so far is run, and its gap told."),
]  # fmt: skip
Copies = Annotated[
    bool, typer.Option("--copies", help="Tensors may be copied within the on-chip memory; with --mapper ilp.")
]
Replayed = Annotated[Path | None, typer.Option(metavar="FILE", help="Replay this mapping.")]
Fixed = Annotated[Path | None, typer.Option(metavar="FILE", help="Fix parts of the mapping.")]
SaveMapping = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the mapping as YAML, or with .txt as nests in the style of Timeloop."),
]
Rewrite = Annotated[
    bool, typer.Option("--rewrite", help="Of a cascade: search over its rewrites too; with --mapper cascade.")
]
SaveCascade = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --rewrite: write the cascade that was found as YAML.")
]
SizeFifos = Annotated[
    bool, typer.Option("--size-fifos", help="Of a stream graph: find the least depths for full rate first.")
]
Room = Annotated[
    bool, typer.Option("--room", help="Also find the fluid bound of the mapping, which knows the room of its buffers, "
                       "and what more of each resource is worth."),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report page.")]
Perfetto = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a time line for Perfetto.")]


def run(
    ctx: typer.Context,
    arch: options.Arch,
    model: ModelRef = None,
    phase: options.Phase = None,
    batch: options.Batch = None,
    seq: options.Seq = None,
    context: options.Context = None,
    bits: options.Bits = None,
    bind: options.Bind = None,
    option: options.Option = None,
    precision: options.Precision = None,
    density: options.Density = None,
    allow_unknown: options.AllowUnknown = False,
    set_: options.Set = None,
    mapper: options.Mapper = "auto",
    objective: options.Objective = "latency",
    seed: options.Seed = 0,
    time_limit: TimeLimit = None,
    copies: Copies = False,
    mapping: Replayed = None,
    constraints: Fixed = None,
    save_mapping: SaveMapping = None,
    rewrite: Rewrite = False,
    save_cascade: SaveCascade = None,
    size_fifos: SizeFifos = False,
    room: Room = False,
    json_: Json = False,
    html: Html = None,
    perfetto: Perfetto = None,
) -> None:
    """Simulate one model on one machine, or a stream graph, and say what it costs and what limits it."""
    if model is None:
        _only_for_models(ctx)
        from .stream import run_stream

        run_stream(arch, html=html, perfetto=perfetto, size_fifos=size_fifos, json_=json_)
        return
    if size_fifos:
        raise BadInput("--size-fifos goes with a stream graph, and this is a machine and a model")
    from ..files import writable_files

    _check_search(mapper, time_limit, copies, mapping, constraints, rewrite, save_cascade)
    options.check_phase(phase, seq, context)
    writable_files(save_mapping, save_cascade, html, perfetto, inputs=(arch, model, mapping, constraints))
    built, workload = _loaded(
        (arch, options.machine_values(set_)),
        (model, options.model_options(
            phase, batch, seq, context, bits, bind, precision, allow_unknown, option, density
        )),
    )  # fmt: skip
    from ..mapping import load_constraints, load_mapping
    from ..simulation import simulate

    fixed = load_constraints(constraints) if constraints is not None else None
    replayed = load_mapping(mapping) if mapping is not None else None
    with _named(mapping or constraints), working(f"{model} on {arch}"):
        if rewrite:
            workload, replayed = _rewritten(built, workload, objective, seed, fixed, save_cascade)
        report = simulate(
            built,
            workload,
            mapper=mapper,
            objective=objective,
            mapping=replayed,
            constraints=None if rewrite else fixed,
            record=RECORDED_FOR_PAGE if html is not None else 0,
            seed=seed,
            budget_s=time_limit,
            copies=copies,
        )
    outputs.write(report, save_mapping, html, perfetto)
    fluid = {"fluid_bound": outputs.fluid_bound_of(report)} if room else {}
    if json_:
        typer.echo(json.dumps(report.to_json() | fluid, indent=2))
        return
    outputs.show(report)
    for told in fluid.values():
        outputs.show_fluid_bound(told, report)


def _loaded(
    machine_and_values: tuple[str, tuple[tuple[str, Scalar], ...]],
    model_and_options: tuple[str, tuple[tuple[str, Scalar], ...]],
) -> tuple[Architecture, Workload]:
    """The machine, then the model: each a name or a file, and what changes it."""
    from ..study.evaluation import machine
    from ..study.evaluation import model as workload_of

    return machine(*machine_and_values), workload_of(*model_and_options)


@contextmanager
def _named(file: Path | None) -> Iterator[None]:
    """Have what does not fit the machine or the model in a file of the user's name that file."""
    try:
        yield
    except SpecError as error:
        if file is None:
            raise
        raise SpecError([replace(p, where=f"{file}: {p.where}" if p.where else str(file))
                         for p in error.problems]) from None  # fmt: skip


def _check_search(
    mapper: str,
    time_limit: float | None,
    copies: bool,
    mapping: Path | None,
    constraints: Path | None,
    rewrite: bool,
    save_cascade: Path | None,
) -> None:
    """Refuse options of the search that contradict each other."""
    if mapping is not None and constraints is not None:
        raise BadInput("--mapping replays every decision and --constraints fixes some: give one of them")
    if time_limit is not None and (mapping is not None or rewrite):
        raise BadInput("--time-limit is of a mapper's search: it does not go with --mapping or --rewrite")
    if copies and (mapping is not None or rewrite):
        raise BadInput("--copies is of a mapper's search: it does not go with --mapping or --rewrite")
    if rewrite and mapper != "cascade":
        raise BadInput(f"--rewrite goes with --mapper cascade, not {mapper}")
    if rewrite and mapping is not None:
        raise BadInput("--mapping replays every decision and --rewrite searches for one: give one of them")
    if save_cascade is not None and not rewrite:
        raise BadInput("--save-cascade goes with --rewrite")


def _rewritten(
    arch: Architecture,
    workload: Workload,
    objective: str,
    seed: int,
    constraints: Constraints | None,
    save_as: Path | None,
) -> tuple[Workload, Mapping]:
    """The best form of a cascade and its Mapping; says on stderr by which rewrites it came about."""
    from ..mappers.cascade import best_cascade
    from ..simulation import check_objective

    check_objective(objective)
    problems = constraints.problems(workload, arch) if constraints is not None else []
    if problems:
        raise SpecError(problems)
    found = best_cascade(workload, arch, objective=objective, seed=seed, constraints=constraints)
    typer.echo(f"best of {len(found.tried)} forms of {workload.name}:", err=True)
    for number, step in enumerate(found.steps, 1):
        typer.echo(f"    {number}. {step}", err=True)
    if not found.steps:
        typer.echo("    as it is written", err=True)
    if save_as is not None:
        from .cascade import save_cascade

        save_cascade(found.workload, save_as)
    return found.workload, found.mapping


def _only_for_models(ctx: typer.Context) -> None:
    """Refuse options that a stream graph would leave without effect."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name not in FOR_GRAPHS and source is not None and source.name == "COMMANDLINE":
            raise BadInput(f"{parameter.opts[0]} goes with a machine and a model, and MODEL is missing")
