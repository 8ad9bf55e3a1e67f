"""Reading a Scenario of LLM serving from YAML; everything that is wrong in it is told with its line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ...arch.network import TOPOLOGIES
from ...arch.units import BANDWIDTH, BYTES, TIME, Quantity, QuantityError
from ...errors import BadInput
from ...files import read_text
from ...ir import MOST_BITS
from ...lowering.collectives import COLLECTIVES
from ...simulation import mapper_names
from ...text.fields import Reader
from ...text.names import nearest
from ...text.nodes import Node, Scalar, Table
from .arrivals import COLUMNS, MOST_REQUESTS, MOST_TOKENS, Lengths, PoissonRequests, TraceRequests, read_trace
from .costs import Overheads
from .scenario import Cache, LlmScenario, Lower, Objectives, Parallel, Speculative
from .state import KINDS, PREEMPTIONS, Policy

EXAMPLE = "model: llama-3-8b"


def load_scenario(path: str | Path) -> LlmScenario:
    """Read a scenario file; a trace file that it names is looked for beside it.

    Raises:
        SpecError: there is no such file, or everything that is wrong in it, with its line.
    """
    return scenario_of(read_text(path), str(path), Path(path).parent)


def scenario_of(text: str, file: str = "scenario", folder: Path | None = None) -> LlmScenario:
    """The scenario that a YAML text says; see `load_scenario`."""
    r = _Fields(text, file)
    top = r.table(r.root, "", ("model", "machine", "arrivals"), (
        "set", "parallel", "policy", "kv", "swap", "slo", "mappers", "bits", "overheads", "speculative",
        "checks", "seed"), EXAMPLE)  # fmt: skip
    arrivals = r.arrivals(top.get("arrivals"), folder or Path())
    scenario = LlmScenario(
        r.text(top.get("model"), "model"), r.text(top.get("machine"), "machine"),
        arrivals or PoissonRequests(1, 1.0, Lengths(1), Lengths(1)),
        r.values(top.get("set")), r.parallel(top.get("parallel")), r.policy(top.get("policy")), r.cache(top.get("kv")),
        r.swap(top.get("swap")), r.objectives(top.get("slo")), r.mappers(top.get("mappers")),
        r.integer(top.get("bits"), "bits", least=1, default=16, most=MOST_BITS), r.overheads(top.get("overheads")),
        r.speculative(top.get("speculative")),
        r.integer(top.get("checks"), "checks", least=0, default=LlmScenario.checks),
        r.integer(top.get("seed"), "seed", least=0), Path(file).stem, {"": file, **_places(r.root, file)},
    )  # fmt: skip
    r.finish()
    return scenario


def _places(node: Node, file: str, above: str = "") -> dict[str, str]:
    """``file:line`` of every key, by its path."""
    found = {}
    for key, (line, value) in (node.entries if isinstance(node, Table) else {}).items():
        found[above + key] = f"{file}:{line}"
        found |= _places(value, file, f"{above}{key}.")
    return found


class _Fields(Reader):
    """The parts of a scenario."""

    def arrivals(self, node: Node | None, folder: Path) -> PoissonRequests | TraceRequests | None:
        if node is None:
            return None
        path = "arrivals"
        found = self.table(node, path, (), ("poisson", "trace", "columns"), "poisson: {requests: 100, ...}")
        if ("poisson" in found) == ("trace" in found):
            self.problem(node.line, path, "must have either `poisson` or `trace`")
            return None
        if "poisson" in found:
            return self._poisson(found["poisson"])
        columns = self.table(found["columns"], f"{path}.columns", (), COLUMNS, "arrival_s: timestamp") \
            if "columns" in found else {}  # fmt: skip
        named = {name: self.text(value, f"{path}.columns.{name}") for name, value in columns.items()}
        before = len(self.problems)
        name = self.text(found["trace"], f"{path}.trace")
        if len(self.problems) > before:
            return None
        try:
            return read_trace(folder / name, named)
        except BadInput as error:
            self.problem(found["trace"].line, f"{path}.trace", str(error))
            return None

    def _poisson(self, node: Node) -> PoissonRequests:
        path = "arrivals.poisson"
        known = ("requests", "per_second", "prompt", "output")
        found = self.table(node, path, known, (), "{requests: 100, per_second: 5, prompt: 512, output: 128}")
        rate = self.number(found.get("per_second"), f"{path}.per_second", 1.0)
        if not 0 < rate < float("inf"):
            self.problem(node.line, f"{path}.per_second", f"{rate} is no rate", "a number above 0")
            rate = 1.0
        count = self.integer(found.get("requests"), f"{path}.requests", least=1, default=1, most=MOST_REQUESTS)
        return PoissonRequests(count, rate,
                               self._lengths(found.get("prompt"), f"{path}.prompt"),
                               self._lengths(found.get("output"), f"{path}.output"))  # fmt: skip

    def _lengths(self, node: Node | None, path: str) -> Lengths:
        if not isinstance(node, Table):
            return Lengths(self.integer(node, path, least=1, default=1))
        found = self.table(node, path, ("mean",), ("sigma", "most"), "{mean: 512, sigma: 0.5, most: 4096}")
        mean = self.number(found.get("mean"), f"{path}.mean", 1.0)
        sigma = self.number(found.get("sigma"), f"{path}.sigma")
        if not 1 <= mean <= MOST_TOKENS or not 0 <= sigma <= 10:
            self.problem(node.line, path, f"mean {mean:g}, sigma {sigma:g}", "a mean of at least 1, sigma from 0 to 10")
            return Lengths(1)
        return Lengths(mean, sigma, self.integer(found.get("most"), f"{path}.most", least=1, default=MOST_TOKENS))

    def values(self, node: Node | None) -> tuple[tuple[str, str | int | float | bool], ...]:
        if node is None:
            return ()
        entries = self.entries(node, "set", "{memories.hbm.bandwidth: 2 TB/s}")
        return tuple((key, self._word(value, f"set.{key}")) for key, (_, value) in entries.items())

    def _word(self, node: Node, path: str) -> str | int | float | bool:
        if isinstance(node, Scalar) and isinstance(node.value, str | int | float | bool):
            return node.value
        self.problem(node.line, path, "must be one value")
        return ""

    def parallel(self, node: Node | None) -> Parallel:
        if node is None:
            return Parallel()
        found = self.table(node, "parallel", (), (
            "tensor", "data", "pipeline", "expert", "overlap", "prefill", "network"), "{tensor: 8}")  # fmt: skip
        pipeline, expert, overlap = (self.integer(found.get(name), f"parallel.{name}", least=1, default=1)
                                     for name in ("pipeline", "expert", "overlap"))  # fmt: skip
        network = self.table(found["network"], "parallel.network", ("bandwidth",), (
            "topology", "latency", "algorithm"), "{bandwidth: 450 GB/s}") if "network" in found else {}  # fmt: skip
        return Parallel(
            self.integer(found.get("tensor"), "parallel.tensor", least=1, default=1),
            self.integer(found.get("data"), "parallel.data", least=1, default=1),
            self.choice(network.get("topology"), "parallel.network.topology", TOPOLOGIES, "switch"),
            float(self.quantity(network.get("bandwidth"), "parallel.network.bandwidth", BANDWIDTH) or 0),
            float(self.quantity(network.get("latency"), "parallel.network.latency", TIME) or 0),
            self.choice(network.get("algorithm"), "parallel.network.algorithm",
                        ("auto", *sorted({a for c in COLLECTIVES.values() for a in c})), "auto"),
            pipeline, expert, overlap, self.integer(found.get("prefill"), "parallel.prefill", least=0),
        )  # fmt: skip

    def policy(self, node: Node | None) -> Policy:
        if node is None:
            return Policy()
        found = self.table(node, "policy", (), ("kind", "batch", "step_tokens", "preemption", "reserve"),
                           "{kind: chunked}")  # fmt: skip
        default = Policy()
        kind = self.choice(found.get("kind"), "policy.kind", KINDS, default.kind)
        preemption = self.choice(found.get("preemption"), "policy.preemption", PREEMPTIONS, default.preemption)
        return Policy(
            next(k for k in KINDS if k == kind),
            self.integer(found.get("batch"), "policy.batch", least=1, default=default.batch),
            self.integer(found.get("step_tokens"), "policy.step_tokens", least=1, default=default.step_tokens),
            next(p for p in PREEMPTIONS if p == preemption),
            self.boolean(found.get("reserve"), "policy.reserve", default.reserve),
        )

    def cache(self, node: Node | None) -> Cache:
        if node is None:
            return Cache()
        found = self.table(node, "kv", (), ("block", "bits", "memory_share", "memory"), "{block: 16}")
        nbytes = self.quantity(found.get("memory"), "kv.memory", BYTES)
        share = self.number(found.get("memory_share"), "kv.memory_share", 0.9)
        if not 0 < share <= 1:
            self.problem(found["memory_share"].line, "kv.memory_share", f"{share:g}", "above 0, at most 1")
            share = 0.9
        return Cache(self.integer(found.get("block"), "kv.block", least=1, default=16),
                     self.integer(found.get("bits"), "kv.bits", least=1, default=16, most=MOST_BITS), share,
                     None if nbytes is None else int(nbytes))  # fmt: skip

    def swap(self, node: Node | None) -> str | Lower | None:
        if node is None:
            return None
        if isinstance(node, Scalar):
            return self.text(node, "swap")
        found = self.table(node, "swap", ("bandwidth", "capacity"), ("name",), "{bandwidth: 25 GB/s, capacity: 64 GiB}")
        return Lower(self.text(found.get("name"), "swap.name") or "lower tier",
                     int(self.quantity(found.get("capacity"), "swap.capacity", BYTES) or 0),
                     float(self.quantity(found.get("bandwidth"), "swap.bandwidth", BANDWIDTH) or 1))  # fmt: skip

    def objectives(self, node: Node | None) -> Objectives:
        if node is None:
            return Objectives()
        found = self.table(node, "slo", (), ("ttft", "tpot"), "{ttft: 2 s, tpot: 50 ms}")
        limits = [self.quantity(found.get(name), f"slo.{name}", TIME) for name in ("ttft", "tpot")]
        return Objectives(*(None if limit is None else float(limit) for limit in limits))

    def overheads(self, node: Node | None) -> Overheads:
        if node is None:
            return Overheads()
        names = ("kernel", "exchange", "step", "sequence")
        found = self.table(node, "overheads", (), (*names, "grouped_attention"), "{kernel: 5 us}")
        share = self.number(found.get("grouped_attention"), "overheads.grouped_attention", 1.0)
        if not 0 < share <= 1:
            self.problem(node.line, "overheads.grouped_attention", f"{share:g}", "above 0, at most 1")
            share = 1.0
        kernel, exchange, step, sequence = (
            float(self.quantity(found.get(n), f"overheads.{n}", TIME) or 0) for n in names
        )
        return Overheads(kernel, exchange, step, share, sequence)

    def speculative(self, node: Node | None) -> Speculative | None:
        if node is None:
            return None
        found = self.table(node, "speculative", ("model",), ("tokens", "acceptance"), "{model: gpt2, tokens: 4}")
        share = self.number(found.get("acceptance"), "speculative.acceptance", Speculative.acceptance)
        if not 0 <= share <= 1:
            self.problem(node.line, "speculative.acceptance", f"{share:g}", "a probability, from 0 to 1")
            share = 0.0
        return Speculative(self.text(found.get("model"), "speculative.model"),
                           self.integer(found.get("tokens"), "speculative.tokens", least=1, default=Speculative.tokens),
                           share)  # fmt: skip

    def mappers(self, node: Node | None) -> tuple[str, str, str]:
        if node is None:
            return LlmScenario.mappers
        found = self.table(node, "mappers", (), ("dense", "decode", "prefill"), "{prefill: cascade}")
        dense, decode, prefill = (
            self.choice(found.get(name), f"mappers.{name}", tuple(mapper_names()), default)
            for name, default in zip(("dense", "decode", "prefill"), LlmScenario.mappers, strict=True)
        )
        return dense, decode, prefill

    def choice(self, node: Node | None, path: str, known: tuple[str, ...], default: str) -> str:
        """One of a few words."""
        if node is None:
            return default
        word = self.text(node, path)
        if word and word not in known:
            self.problem(node.line, path, f"no `{word}`", nearest(word, known, f"known: {', '.join(known)}"))
        return word if word in known else default

    def quantity(self, node: Node | None, path: str, kind: Quantity) -> Fraction | float | None:
        """A number with its unit, in SI."""
        if node is None:
            return None
        text = self.text(node, path)
        try:
            value = kind.parse(text) if text else None
        except QuantityError as error:
            self.problem(node.line, path, error.what, error.hint)
            return None
        return value
