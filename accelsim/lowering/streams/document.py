"""Stream graphs as YAML.

    name: softmax
    clock: 1 GHz
    iterations: 1                           # where no node says its firings
    defaults: {depth: 2, latency: 1, ii: 1, credit_latency: 1, bits: 16}
    memories:
      dram: {bandwidth: 64 GB/s, policy: round_robin, burst: 256 B}
    units: {pcu: 8}
    nodes:
      scores: {kind: source, firings: 4096}
      load:   {kind: memory, memory: dram, bytes: 4096, latency: 100}
      exp:    {latency: 4}                  # kind: map where nothing is said
      total:  {kind: reduce, length: 64, unit: pcu, units: 2}
      divide: {inputs: [score, sum], outputs: [weight]}
      out:    {kind: sink}
    streams:
    - scores -> exp
    - {from: exp, to: divide.score, depth: 66}
    - {from: exp, to: total, depth: unbounded}
    - {from: total, to: divide.sum, take: {every: 64}}
    - {from: divide.weight, to: out, put: 1, latency: 0, init: 0, space_at_end: false, name: weights}

Attributes are those of `Node`, `Stream`, `Memory` and `UnitPool`. A rate is a number of tokens for each firing, a list
of numbers for one firing after the other, ``{every: 64, at: last, tokens: 1}``, or ``{runs: [[63, 0], [1, 1]]}``. A
bandwidth or clock may be a ratio: ``1000/3 MHz``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...arch.units import BANDWIDTH, BYTES, FREQUENCY, Quantity, QuantityError
from ...engine.program import FIRST_COME, ROUND_ROBIN, UNBOUNDED
from ...errors import BadInput, Problem, SpecError
from ...files import read_text
from ...text.document import Document, Steps, parse_document
from ...text.names import nearest, short
from ...text.plain import quoted
from .graph import GraphBuilder, StreamGraph
from .rates import Rate, every

TOP = ("name", "description", "source", "clock", "iterations", "defaults", "memories", "units", "nodes", "streams")
DEFAULTS = {"depth": 2, "latency": 1, "ii": 1, "credit_latency": 1, "bits": 16}
NODE = ("kind", "latency", "ii", "length", "firings", "memory", "bytes", "unit", "units", "inputs", "outputs")
STREAM = ("from", "to", "depth", "put", "take", "latency", "credit_latency", "init", "space_at_end", "bits", "name")
MEMORY = ("bandwidth", "policy", "burst")
RATE = ("every", "at", "tokens", "runs")
_RATIO = re.compile(r"\s*(\d{1,400}/\d{1,400})\s+(.+)")
POLICIES = {"first_come": FIRST_COME, "round_robin": ROUND_ROBIN}


def load_graph(path: str | Path) -> StreamGraph:
    """The stream graph in a file; see `loads_graph`."""
    return loads_graph(read_text(path), str(path))


def loads_graph(text: str, file: str = "graph") -> StreamGraph:
    """The stream graph that a YAML text describes.

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    document = parse_document(text, file, ("a stream graph is a mapping", "with the keys nodes and streams"))
    return _Reader(document).graph()


class _Reader:
    """Takes a document apart; what is wrong is collected."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def problem(self, path: Steps, what: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, what, hint))

    def graph(self) -> StreamGraph:
        top = self.mapping(self.document.data, (), TOP)
        clock = self.quantity(top.get("clock", "1 GHz"), ("clock",), FREQUENCY)
        iterations = self.integer(top.get("iterations", 1), ("iterations",))
        name = str(top.get("name") or Path(self.document.file).stem)
        self.builder = GraphBuilder(name, iterations=iterations, cycle_hz=clock if clock > 0 else 1)
        given = self.mapping(top.get("defaults") or {}, ("defaults",), tuple(DEFAULTS))
        self.defaults = {k: self.depth(given, k, ("defaults",)) if k in given else v for k, v in DEFAULTS.items()}
        for memory, spec in self.mapping(top.get("memories") or {}, ("memories",)).items():
            self.memory(memory, spec, clock)
        for pool, count in self.mapping(top.get("units") or {}, ("units",)).items():
            self.builder.unit_pool(pool, self.integer(count, ("units", pool)))
        for node, spec in self.mapping(top.get("nodes") or {}, ("nodes",)).items():
            self.node(node, spec)
        streams = top.get("streams") or []
        if not isinstance(streams, list):
            self.problem(("streams",), "must be a list", "of streams such as `- a -> b`")
            streams = []
        for i, spec in enumerate(streams):
            self.stream(i, spec)
        if self.problems:
            raise SpecError(self.problems)
        return self.builder.build(self.document.where)

    def memory(self, name: str, given: Any, clock: Fraction) -> None:
        at = ("memories", name)
        spec = self.mapping(given, at, MEMORY)
        bandwidth, policy = spec.get("bandwidth"), str(spec.get("policy", "round_robin"))
        if bandwidth is None:
            self.problem(at, "has no bandwidth", "bandwidth: 64 GB/s, or 64 B/cycle")
            return
        rate = self.quantity(bandwidth, (*at, "bandwidth"), BANDWIDTH, clock) / clock
        burst = spec.get("burst", 0)
        size = self.integer(burst, (*at, "burst")) if isinstance(burst, int) else int(
            self.quantity(burst, (*at, "burst"), BYTES)
        )
        if policy not in POLICIES:
            self.problem((*at, "policy"), f"is {short(policy)}", nearest(policy, POLICIES))
        self.builder.memory(name, rate, policy=POLICIES.get(policy, ROUND_ROBIN), burst=size)

    def node(self, name: str, given: Any) -> None:
        at = ("nodes", name)
        spec = self.mapping(given or {}, at, NODE)
        values: dict[str, Any] = {"latency": self.defaults["latency"], "ii": self.defaults["ii"]}
        for key in spec:
            if key in ("kind", "memory", "unit"):
                values[key] = self.text(spec[key], (*at, key))
            elif key in ("inputs", "outputs"):
                values[key] = self.names(spec[key], (*at, key))
            else:
                values[key] = self.integer(spec[key], (*at, key))
        self.builder.node(name, **values)

    def stream(self, i: int, given: Any) -> None:
        at: Steps = ("streams", i)
        if isinstance(given, str):
            src, arrow, dst = given.partition("->")
            if not arrow:
                self.problem(at, f"`{short(given)}` is no stream", "from -> to")
                return
            given = {"from": src.strip(), "to": dst.strip()}
        spec = self.mapping(given, at, STREAM)
        for key in ("from", "to"):
            if key not in spec:
                self.problem(at, f"missing key '{key}'", "such as {from: a, to: b}")
                return
        numbers: dict[str, int] = {}
        for key in ("latency", "init"):
            if key in spec:
                numbers[key] = self.integer(spec[key], (*at, key))
        for key in ("depth", "credit_latency", "bits"):
            numbers[key] = self.depth(spec, key, at) if key in spec else self.defaults[key]
        rates = {key: self.rate(spec[key], (*at, key)) for key in ("put", "take") if key in spec}
        at_end = spec.get("space_at_end")
        if at_end is not None and not isinstance(at_end, bool):
            self.problem((*at, "space_at_end"), f"is {short(at_end)}", "true or false")
            at_end = None
        name = self.text(spec["name"], (*at, "name")) if "name" in spec else ""
        self.builder.stream(self.text(spec["from"], (*at, "from")), self.text(spec["to"], (*at, "to")),
                            space_at_end=at_end, name=name, put=rates.get("put"), take=rates.get("take"), **numbers)

    def rate(self, given: Any, at: Steps) -> Rate | None:
        try:
            if isinstance(given, dict):
                spec = self.mapping(given, at, RATE)
                if "runs" in spec:
                    runs = [[self.integer(n, (*at, "runs", i)) for n in run] if isinstance(run, list) else []
                            for i, run in enumerate(spec["runs"] if isinstance(spec["runs"], list) else [])]
                    if not runs or any(len(run) != 2 for run in runs):
                        raise BadInput("runs are pairs of [firings, tokens]")
                    return Rate(tuple((run[0], run[1]) for run in runs))
                if "every" not in spec:
                    raise BadInput("a rate names `every` so many firings, or `runs`")
                return every(self.integer(spec["every"], (*at, "every")), at=str(spec.get("at", "first")),
                             tokens=self.integer(spec.get("tokens", 1), (*at, "tokens")))
            counts = given if isinstance(given, list) else [given]
            if not counts:
                raise BadInput("an empty list of tokens")
            return Rate.of([self.integer(n, at) for n in counts])
        except BadInput as error:
            self.problem(at, str(error), "such as 1, [1, 0, 0], or {every: 64, at: last}")
            return None

    def depth(self, spec: Mapping[str, Any], key: str, at: Steps) -> int:
        if key == "depth" and spec[key] == "unbounded":
            return UNBOUNDED
        value = self.integer(spec[key], (*at, key))
        if key == "depth" and value < 1:
            self.problem((*at, key), f"is {value}", "at least 1, or unbounded")
            return 1
        return value

    def mapping(self, given: Any, at: Steps, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
        if not isinstance(given, dict):
            self.problem(at, f"is {short(given)}", "a mapping")
            return {}
        for key in given:
            if keys is not None and key not in keys:
                self.problem((*at, key), f"unknown key '{short(key)}'", nearest(key, keys))
        return {str(k): v for k, v in given.items() if keys is None or k in keys}

    def integer(self, given: Any, at: Steps) -> int:
        if isinstance(given, bool) or not isinstance(given, int):
            self.problem(at, f"is {short(given)}", "a whole number")
            return 1
        if abs(given) > 2**60:
            self.problem(at, f"is {short(given)}", f"a whole number up to 2^60, {2**60:,}")
            return 1
        return given

    def text(self, given: Any, at: Steps) -> str:
        if not isinstance(given, str) or not given:
            self.problem(at, f"is {short(given)}", "a name")
        return str(given)

    def names(self, given: Any, at: Steps) -> list[str]:
        if not isinstance(given, list):
            self.problem(at, f"is {short(given)}", "a list of names")
            return []
        return [self.text(name, (*at, i)) for i, name in enumerate(given)]

    def quantity(self, given: Any, at: Steps, unit: Quantity, clock: Fraction | None = None) -> Fraction:
        ratio = _RATIO.fullmatch(str(given))
        try:
            if ratio is None:
                return Fraction(unit.parse(str(given), clock))
            return unit.check(Fraction(ratio[1]) * Fraction(unit.parse(f"1 {ratio[2]}", clock)), given)
        except (QuantityError, OverflowError, ValueError, ZeroDivisionError) as error:
            self.problem(at, str(error))
            return Fraction(1)


def dumps_graph(graph: StreamGraph) -> str:
    """A YAML text that `loads_graph` reads back as the same graph."""
    policies = {value: key for key, value in POLICIES.items()}
    lines = [f"name: {quoted(graph.name)}", f"clock: {_number(graph.cycle_hz)} Hz", f"iterations: {graph.iterations}"]
    if graph.memories:
        lines.append("memories:")
        lines += [
            f"  {quoted(m.name)}: {{bandwidth: {quoted(f'{_number(m.rate)} B/cycle')}, policy: {policies[m.policy]}, "
            f"burst: {m.burst}}}"
            for m in graph.memories
        ]
    if graph.units:
        lines += ["units:", *(f"  {quoted(u.name)}: {u.count}" for u in graph.units)]
    lines.append("nodes:")
    for n, firings in zip(graph.nodes, graph.firings, strict=True):
        values = {"kind": n.kind, "latency": n.latency, "ii": n.ii, "length": n.length, "firings": firings}
        if n.memory:
            values |= {"memory": quoted(n.memory), "bytes": n.bytes}
        if n.unit:
            values |= {"unit": quoted(n.unit), "units": n.units}
        for key, ports in (("inputs", n.inputs), ("outputs", n.outputs)):
            if ports:
                values[key] = "[" + ", ".join(map(quoted, ports)) + "]"
        lines.append(f"  {quoted(n.name)}: {_flow(values)}")
    lines.append("streams:")
    for s in graph.streams:
        ends = {"from": s.src + (f".{s.src_port}" if s.src_port else ""),
                "to": s.dst + (f".{s.dst_port}" if s.dst_port else "")}
        depth = "unbounded" if s.depth == UNBOUNDED else s.depth
        lines.append("- " + _flow({
            **{key: quoted(end) for key, end in ends.items()}, "name": quoted(s.name), "depth": depth,
            "put": _rate(s.put), "take": _rate(s.take), "latency": s.latency, "credit_latency": s.credit_latency,
            "init": s.init, "space_at_end": str(s.space_at_end).lower(), "bits": s.bits,
        }))  # fmt: skip
    return "\n".join(lines) + "\n"


def _flow(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def _rate(rate: Rate) -> str:
    return "{runs: [" + ", ".join(f"[{n}, {tokens}]" for n, tokens in rate.runs) + "]}"


def _number(value: Fraction) -> str:
    """A number as `_Reader.quantity` reads it, exactly: ``64`` or ``1000/3``."""
    return str(value)
