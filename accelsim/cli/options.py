"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInput
from . import completion

if TYPE_CHECKING:
    from ..study.span import Scalar

Arch = Annotated[
    str,
    typer.Argument(
        metavar="ARCH", help="A machine: a preset's name or a YAML file.", autocompletion=completion.of("machines")
    ),
]
ModelRef = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model: .onnx file, onnx:NAME, config .json, or a name of the zoo.",
        autocompletion=completion.of("models"),
    ),
]
Phase = Annotated[str | None, typer.Option(help="prefill or decode.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Sequences.")]
Seq = Annotated[int | None, typer.Option(min=1, help="Tokens per sequence in prefill.")]
Context = Annotated[int | None, typer.Option(min=1, help="Tokens that a decoded token attends to.")]
Bits = Annotated[int | None, typer.Option(min=1, help="Bits per element.")]
Bind = Annotated[list[str] | None, typer.Option(metavar="NAME=N", help="Size of a free dimension of an ONNX file.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Of some models: resolution=192, head=last, causal=true ..."),
]
Precision = Annotated[
    str | None,
    typer.Option(metavar="NAME=BITS,...", help="Bits by role or name: weight=4,activation=8,*.bias=32,*.up=4:8/128."),
]
Density = Annotated[
    str | None,
    typer.Option(metavar="NAME=DENSITY,...", help="Elements that are not 0: weight=2:4/nm_index,activation=0.6."),
]
AllowUnknown = Annotated[
    bool, typer.Option("--allow-unknown", help="Operators of an ONNX file without support are listed, at no cost.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change the machine, such as memories.sram.capacity='1 MiB'."),
]
Mapper = Annotated[
    str, typer.Option(help="Which mapper; see `accelsim list`.", autocompletion=completion.of("mappers"))
]
Objective = Annotated[
    str, typer.Option(help="latency, energy or edp (energy times latency).", autocompletion=completion.objectives)
]
Seed = Annotated[int, typer.Option(min=0, help="For mappers that choose at random.")]


def model_options(
    phase: str | None, batch: int | None, seq: int | None, context: int | None, bits: int | None,
    bind: list[str] | None, precision: str | None = None, allow_unknown: bool = False, option: list[str] | None = None,
    density: str | None = None,
) -> tuple[tuple[str, Scalar], ...]:
    """What was given, under the names of axes (``seq``, ``bind.N``).

    Raises:
        BadInput: a binding that is none, no such option, or one that is given twice.
    """
    from ..study.axis import MODEL_OPTIONS

    given = {"phase": phase, "batch": batch, "seq": seq, "context": context, "bits": bits, "precision": precision,
             "density": density, "allow_unknown": allow_unknown or None}
    options: dict[str, Scalar] = {name: value for name, value in given.items() if value is not None}
    options.update((f"bind.{name}", value) for name, value in pairs("--bind", bind or []))
    for name, value in pairs("--option", option or []):
        if name not in MODEL_OPTIONS:
            raise BadInput(f"--option {name}: no option of models (they have: {', '.join(MODEL_OPTIONS)})")
        if name in options:
            raise BadInput(f"--option {name}={value}: --{name.replace('_', '-')} gives it already; give one of them")
        options[name] = value
    return tuple(options.items())


def check_phase(phase: str | None, seq: int | None, context: int | None) -> None:
    """Raise BadInput for a number of tokens that one phase leaves without effect."""
    if context is not None and phase != "decode":
        raise BadInput(f"--context {context} is what a decoded token attends to: it goes with --phase decode, and "
                       "--seq with prefill")  # fmt: skip
    if context is not None and seq is not None:
        raise BadInput(f"--seq {seq} beside --context {context}: in --phase decode, --context says it alone")


def machine_values(settings: list[str] | None) -> tuple[tuple[str, Scalar], ...]:
    """Paths and values of ``--set``; a leading ``arch.``, as axes have it, may be there or not."""
    found = [(name.removeprefix("arch."), value) for name, value in pairs("--set", settings or [])]
    _once("--set", [name for name, _ in found])
    return tuple(found)


def pairs(option: str, texts: Iterable[str]) -> list[tuple[str, Scalar]]:
    """``NAME=VALUE`` texts as pairs, every name once. Raises BadInput."""
    from ..study.sweep import parse_scalar

    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.strip() or not equals or not value.strip():
            raise BadInput(f"{option} {text}: write NAME=VALUE")
        found.append((name.strip(), parse_scalar(value)))
    _once(option, [name for name, _ in found])
    return found


def _once(option: str, names: list[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise BadInput(f"{option} {name}: is given twice; give it once")
