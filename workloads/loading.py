"""From the name or the file of a model to its Workload."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BadInput
from ..files import is_file
from ..text.names import near, short

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from torch.export import ExportedProgram

    from ..ir import GroupBits, Workload
    from ..ir.density import DensityLike
    from ..ir.training import Loss
    from ..text.document import Document
    from .transformer import HeadOn


class Route(NamedTuple):
    """A kind of model: what messages call it, and the options of `load_model` that it takes."""

    what: str
    options: tuple[str, ...]
    hint: str = ""


ONNX = Route("an ONNX file", ("bits", "bindings", "allow_unknown"), "bind.<dimension> sets a free one")
CONFIG = Route("a transformer from a config", (
    "phase", "batch", "seq", "context", "bits", "weight_bits", "state_bits", "head", "causal", "sliding_window"))
PROGRAM = Route("a program of torch.export", ("bits", "bindings", "allow_unknown"), "bind.<dimension> sets a free one")
LAYERS = Route("a layer list", ("batch", "resolution", "bits"))
CASCADE = Route("a cascade", ("bits", "bindings"), "bind.<rank> sizes a rank")
SCALESIM = Route("a SCALE-Sim topology", ("bits",))
ZIGZAG = Route("a ZigZag workload", ("bits",))

LARGEST = 2**40
"""Number that an option of a model may be, as those in a config may."""
FORMS = ("a .onnx file, a .pt2 file of torch.export, a Hugging Face config as .json, a SCALE-Sim topology as .csv; or "
         "a layer list, a cascade or a ZigZag workload as .yaml")


def load_model(
    ref: str | Path | ExportedProgram,
    *,
    phase: str | None = None,
    batch: int | None = None,
    seq: int | None = None,
    context: int | None = None,
    bits: int | None = None,
    bindings: Mapping[str, int] | None = None,
    resolution: int | tuple[int, int] | None = None,
    head: HeadOn | None = None,
    causal: bool | None = None,
    sliding_window: bool | None = None,
    weight_bits: int | None = None,
    state_bits: int | None = None,
    precision: Mapping[str, int | GroupBits] | str | None = None,
    density: Mapping[str, DensityLike] | str | None = None,
    training: Loss | None = None,
    allow_unknown: bool = False,
) -> Workload:
    """The Workload of a model.

    Args:
        ref: a name of the zoo; a path to an ``.onnx`` file, or ``onnx:NAME`` for a model that comes with the onnx
            package; to a Hugging Face config (``.json``, or the folder of a ``config.json``); to a SCALE-Sim topology
            (``.csv``); or to a YAML file, which is a layer list, a cascade of Einsums or a ZigZag workload by what it
            holds; or to a ``.pt2`` file of torch.export.save. Or an ExportedProgram itself (the extra ``torch``).
        phase: of a transformer from a config: ``prefill`` (the default) or ``decode``.
        batch: sequences of a transformer, inputs of a layer list; default: 1.
        seq: tokens per sequence in prefill.
        context: tokens that a decoded token attends to, itself included.
        bits: per element of every tensor; default: what the file says, 8 for a SCALE-Sim topology, else 16. In a
            cascade, of tensors that say nothing.
        bindings: sizes of the symbolic dimensions of an ONNX file or an exported program, or of ranks of a cascade.
        resolution: height and width of the images of a layer list, or one number for both.
        head: of a transformer: logits for ``all`` tokens, for the ``last``, or ``none``; see `HFModel.prefill`.
        causal: of a transformer in prefill: count the half of attention that the causal mask keeps; default: all.
        sliding_window: of a transformer: layers with a window attend to no more keys than it holds; default: to all.
        weight_bits: of the weights of a transformer; default: `bits`.
        state_bits: of the KV cache of a transformer; default: `bits`.
        precision: bits by role or name of tensors, as `ir.with_precision` takes them, or as text:
            ``weight=4,activation=8``, or ``weight=4:8/128`` with 8 bits of metadata per group of 128 elements. It has
            the last word.
        density: elements that are not zero by role or name of tensors, as `ir.with_density` takes them, or as text:
            ``weight=2:4/nm_index,activation=0.6``; default: all.
        training: a whole training step with this loss, ``cross_entropy`` or ``squared``; see `ir.training`.
        allow_unknown: of an ONNX file or an exported program: operators that are not supported cost nothing, and the
            Workload's `notes` list them; else they are refused.

    Raises:
        BadInput: no such model, with the nearest names; an option that it does not take; or what the importer finds
            wrong.

    Example:
        >>> load_model("resnet18", batch=2).macs
        3628146688
    """
    options = {name: value for name, value in {
        "phase": phase, "batch": batch, "seq": seq, "context": context, "bits": bits, "bindings": bindings or None,
        "resolution": resolution, "head": head, "causal": causal, "sliding_window": sliding_window,
        "weight_bits": weight_bits, "state_bits": state_bits, "allow_unknown": allow_unknown or None,
        }.items() if value is not None}
    _check_values(ref, options)
    workload = _load(str(ref), options) if isinstance(ref, str | Path) else _program(ref, options)
    from ..ir import parse_density, parse_precision, with_density, with_precision

    if precision is not None:
        workload = with_precision(workload, parse_precision(precision) if isinstance(precision, str) else precision)
    if density is not None:
        workload = with_density(workload, parse_density(density) if isinstance(density, str) else density)
    if training is not None:
        from ..ir.training import training_step

        workload = training_step(workload, loss=training)
    return workload


def _check_values(ref: object, options: Mapping[str, Any]) -> None:
    """Raise BadInput for a number that no model has, and for what is neither true nor false."""
    from ..ir import MOST_BITS

    name = ref if isinstance(ref, str | Path) else "program"
    for option in ("batch", "seq", "context", "bits", "weight_bits", "state_bits"):
        most = MOST_BITS if option.endswith("bits") else LARGEST
        value = options.get(option, 1)
        if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= int(value) <= most:
            raise BadInput(f"{name}: {option}={value} (a whole number from 1 to {most})")
    for option in ("causal", "sliding_window"):
        if option in options and options[option] not in (True, False):
            raise BadInput(f"{name}: {option}={options[option]} (true or false)")


def _load(ref: str, options: dict[str, Any]) -> Workload:
    """The Workload of a model with those options of `load_model` that were given."""
    from . import zoo
    from .text import loads_cascade

    if ref.startswith("onnx:") or ref.endswith(".onnx"):
        return _onnx(ref, _taken(ref, ONNX, options))
    if ref.endswith(".pt2"):
        return _program(ref, options)
    if ref in zoo.layer_names():
        from .layers import loads_layers

        return loads_layers(zoo.layers_text(ref), ref, **_taken(ref, LAYERS, options))
    if ref in zoo.cascade_names():
        taken = _taken(ref, CASCADE, options)
        return loads_cascade(zoo.cascade_text(ref), ref, ranks=taken.pop("bindings", None), **taken)
    if ref in zoo.config_names() or ref.endswith(".json") or is_file(ref, "config.json"):
        return _transformer(ref, _taken(ref, CONFIG, options))
    if ref.endswith(".csv"):
        from .text import load_scalesim

        return load_scalesim(ref, **_taken(ref, SCALESIM, options))
    if ref.endswith((".yaml", ".yml")):
        return _yaml(ref, options)
    if (workload := _imported(ref, options)) is not None:
        return workload
    raise BadInput(_unknown(ref))


IMPORTER_GROUP = "accelsim.importers"


def importers() -> dict[str, EntryPoint]:
    """Importers of other packages by the suffix of the files that they read.

    Each is registered under the entry-point group ``accelsim.importers``; its name is the suffix without the dot, and
    it is a function from the path, and from the options of `load_model` that were given, to a Workload.
    """
    from importlib.metadata import entry_points

    return {f".{point.name}": point for point in entry_points(group=IMPORTER_GROUP)}


def _imported(ref: str, options: dict[str, Any]) -> Workload | None:
    """What the importer of another package makes of a file; None if there is none for it."""
    from inspect import signature

    point = importers().get(Path(ref).suffix)
    if point is None:
        return None
    if not is_file(ref):
        raise BadInput(f"{ref}: no such file")
    function = point.load()
    known = tuple(name for name in signature(function).parameters)[1:]
    workload: Workload = function(ref, **_taken(ref, Route(f"a file of importer '{point.name}'", known), options))
    return workload


def _taken(ref: str, route: Route, options: dict[str, Any]) -> dict[str, Any]:
    """The options, if the route takes them all. Raises BadInput."""
    for name in options:
        if name not in route.options:
            shown = f"bind.{next(iter(options[name]))}" if name == "bindings" else name
            known = ", ".join("bind" if option == "bindings" else option for option in route.options)
            hint = f"; {route.hint}" if route.hint else ""
            raise BadInput(f"model '{ref}': {route.what} has no option '{shown}' (options here: {known}{hint})")
    return options


def _transformer(ref: str, options: dict[str, Any]) -> Workload:
    from .huggingface import load_config

    model = load_config(ref)
    phase = options.pop("phase", "prefill")
    seq, context = options.pop("seq", None), options.pop("context", None)
    if phase == "prefill":
        if context is not None:
            raise BadInput(f"{model.name}: context {context} is what a decoded token attends to (phase decode; in "
                           "prefill seq says how many tokens there are)")  # fmt: skip
        return model.prefill(seq=seq, **options)
    if phase != "decode":
        step = "; the option training=cross_entropy makes a training step" if str(phase).startswith("train") else ""
        raise BadInput(f"{model.name}: phase '{phase}' (one of prefill, decode{step})")
    if None not in (seq, context):
        raise BadInput(f"{model.name}: seq {seq} beside context {context} (in phase decode, context says it alone)")
    if options.pop("causal", None):
        raise BadInput(f"{model.name}: causal is for prefill (a decoded token attends to all that came before)")
    return model.decode(context=seq if context is None else context, **options)


def _onnx(ref: str, options: dict[str, Any]) -> Workload:
    from .onnx_import import import_onnx, wheel_models

    if not ref.startswith("onnx:"):
        return import_onnx(ref, **options)
    models, name = wheel_models(), ref.removeprefix("onnx:")
    if name not in models:
        hint = f"{near(name, models)}there are {', '.join(sorted(models))}"
        raise BadInput(f"no model '{name}' in the onnx package ({hint})")
    return import_onnx(models[name], name=name, **options)


def _program(ref: str | ExportedProgram, options: dict[str, Any]) -> Workload:
    from .torch_import import import_program

    return import_program(ref, **_taken(ref if isinstance(ref, str) else "program", PROGRAM, options))


def _yaml(ref: str, options: dict[str, Any]) -> Workload:
    from ..files import read_text
    from ..text.document import parse_document
    from .layers import loads_layers
    from .text import loads_cascade, loads_zigzag

    text = read_text(ref)
    route = _kind(parse_document(text, ref))
    taken = _taken(ref, route, options)
    if route is LAYERS:
        return loads_layers(text, ref, **taken)
    if route is ZIGZAG:
        return loads_zigzag(text, ref, **taken)
    return loads_cascade(text, ref, ranks=taken.pop("bindings", None), **taken)


def _kind(document: Document) -> Route:
    """What a YAML file is, by its keys. Raises SpecError where it is none of them."""
    data = document.data
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        return ZIGZAG
    if isinstance(data, dict):
        if "layers" in data or "input" in data:
            return LAYERS
        if "einsums" in data or "ranks" in data or "without" in data or extends_cascade(data):
            return CASCADE
        if "memories" in data or "units" in data or "extends" in data:
            raise document.error((), "this is a machine, not a model", "the machine comes first, then the model")
    raise document.error((), "is no model", "a layer list has the key layers, a cascade the key einsums, a ZigZag "
                                            "workload is a list of layers")


def extends_cascade(data: Mapping[str, Any]) -> bool:
    """Whether a file extends a cascade of the zoo; machines extend presets, which have other names."""
    from . import zoo

    return data.get("extends") in zoo.cascade_names()


def _exists(ref: str) -> bool:
    try:
        return Path(ref).exists()
    except OSError:  # such as a name that is far too long
        return False


def _unknown(ref: str) -> str:
    from . import zoo

    if not ref:
        return f"no model is named ({FORMS})"
    if "/" in ref or Path(ref).suffix[1:].isalpha() or _exists(ref):
        what = "exists and is no model" if _exists(ref) else "does not exist"
        return f"model file '{short(ref, 200)}' {what} ({FORMS})"
    zoo_names = zoo.names()
    return (f"no model '{short(ref, 200)}' ({near(ref, zoo_names)}zoo: {', '.join(zoo_names)}; or onnx:NAME, or a "
            f"path: {FORMS})")  # fmt: skip
