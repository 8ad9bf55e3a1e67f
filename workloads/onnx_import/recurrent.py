"""RNN, GRU and LSTM, unrolled: the products with the inputs for all steps at once, then step after step the rest.

The formulas are those of the ONNX operator reference. Per step there is one product with the recurrent weights and one
or two Einsums over the elements of the hidden state, so that long sequences are refused rather than made huge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...ir import Access, Affine, Apply, Const, Expr, Read, affine
from .elementwise import add, maximum, minimum, mul, sub
from .graph import GraphImport, operator
from .loading import Node, Value

MOST_STEPS = 512
"""Steps of all directions together that are unrolled."""

ACTIVATIONS: dict[str, Callable[[Expr], Expr]] = {
    "sigmoid": lambda x: Apply("sigmoid", (x,)),
    "tanh": lambda x: Apply("tanh", (x,)),
    "relu": lambda x: maximum(x, 0.0),
    "hardsigmoid": lambda x: maximum(minimum(add(mul(x, 0.2), 0.5), 1.0), 0.0),
}
DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass
class Cell:
    """One Einsum over the hidden state (b, h) of a step: the accesses that its expression has asked for."""

    inputs: list[Access] = field(default_factory=list)

    def read(self, tensor: str, *indices: Affine | str | int) -> Expr:
        access = Access(tensor, tuple(map(affine, indices)))
        if access not in self.inputs:
            self.inputs.append(access)
        return Read(self.inputs.index(access))


class Recurrence:
    """One node: its sizes, and what its steps read and write."""

    def __init__(self, g: GraphImport, node: Node) -> None:
        self.g, self.node, self.b = g, node, g.builder
        x, w, r = (g.value(node, i) for i in range(3))
        self.gates = GATES[node.op_type]
        self.batch_first = bool(node.attributes.get("layout", 0))
        direction = str(node.attributes.get("direction", "forward"))
        self.directions = 2 if direction == "bidirectional" else 1
        self.backward = [direction == "reverse", True][: self.directions]
        self.hidden = r.shape[-1] if r.shape else 0
        if len(x.shape) != 3 or w.shape != (self.directions, self.gates * self.hidden, x.shape[2]) or r.shape != (
            self.directions, self.gates * self.hidden, self.hidden
        ):  # fmt: skip
            raise g.wrong(node, f"input {x.shape} and weights {w.shape} and {r.shape} do not fit together in "
                                f"{self.directions} directions")  # fmt: skip
        if node.attributes.get("hidden_size", self.hidden) != self.hidden:
            raise g.wrong(node, f"hidden_size {node.attributes['hidden_size']}, and weights {r.shape} of {self.hidden}")
        bias, biases = g.maybe(node, 3), (self.directions, 2 * self.gates * self.hidden)
        if bias is not None and bias.shape != biases:
            raise g.wrong(node, f"biases {bias.shape} ({biases}: of the input, then of the recurrence)")
        self.batch, self.steps = (x.shape[0], x.shape[1]) if self.batch_first else (x.shape[1], x.shape[0])
        self._refuse(g.maybe(node, 4))
        self.bits = g.bits_of(x)
        self.x, self.w, self.r = (g.tensor(v) for v in (x, w, r))
        self.bias, self.first_h, self.first_c, self.peep = (
            None if v is None else g.tensor(v)
            for v in (g.maybe(node, 3), g.maybe(node, 5), g.maybe(node, 6), g.maybe(node, 7))
        )
        self.functions = self._functions()
        dims = {"s": self.steps, "d": self.directions, "b": self.batch, "h": self.hidden}
        name = node.outputs[0] if node.outputs else ""
        shape = [dims[r] for r in ("bsdh" if self.batch_first else "sdbh")]
        self.y = self.b.activation(name or self.b.unique(f"{node.name}.Y"), shape, self.bits)
        if name:
            g.result(node, shape)

    def _refuse(self, lengths: Value | None) -> None:
        g, node = self.g, self.node
        total = self.steps * self.directions
        if total > MOST_STEPS:
            raise g.unsupported(node, f"{total} steps are too many to unroll (up to {MOST_STEPS}; bind the sequence "
                                      "shorter, the cost of a step does not change)")  # fmt: skip
        if lengths is not None and (lengths.data is None or (lengths.data != self.steps).any()):
            raise g.unsupported(node, "sequences of different lengths are not supported")
        if node.attributes.get("clip", 0.0) or node.attributes.get("input_forget", 0):
            raise g.unsupported(node, "clip and input_forget are not supported")

    def _functions(self) -> list[list[Callable[[Expr], Expr]]]:
        """Activation functions of each direction."""
        names = DEFAULTS[self.node.op_type]
        texts = self.node.attributes.get("activations", [])
        given = [str(n.decode() if isinstance(n, bytes) else n).lower() for n in texts] or [*names] * self.directions
        if len(given) != len(names) * self.directions or any(n not in ACTIVATIONS for n in given):
            raise self.g.unsupported(self.node, f"activations {', '.join(given)} ({len(names)} per direction, of "
                                                f"{', '.join(ACTIVATIONS)})")  # fmt: skip
        return [[ACTIVATIONS[n] for n in given[d * len(names) : (d + 1) * len(names)]] for d in range(self.directions)]

    # -- what a step reads and writes ------------------------------------------------------------------------------

    def project(self, d: int) -> str:
        """Products of every input with the weights: (steps, batch, gates * hidden)."""
        sizes = {"s": self.steps, "b": self.batch, "n": self.gates * self.hidden, "i": self.b.shape(self.x)[2]}
        x = ("b", "s", "i") if self.batch_first else ("s", "b", "i")
        inputs = [Access(self.x, tuple(map(affine, x))), Access(self.w, (affine(d), affine("n"), affine("i")))]
        return self.emit("mul", inputs, ("s", "b", "n"), sizes, "input", reduce="add")

    def recurrent(self, d: int, state: tuple[str, tuple[Affine | str | int, ...]], gates: range, step: str) -> str:
        """Products of a state, read at indices over b and k, with recurrent weights: (batch, gates * hidden)."""
        name, indices = state
        width = len(gates) * self.hidden
        row = Affine((("n", 1),), gates.start * self.hidden)
        inputs = [Access(name, tuple(map(affine, indices))), Access(self.r, (affine(d), row, affine("k")))]
        return self.emit("mul", inputs, ("b", "n"), {"b": self.batch, "n": width, "k": self.hidden}, step, reduce="add")

    def emit(
        self, expr: Expr | str, inputs: list[Access], place: tuple[Affine | str, ...], sizes: dict[str, int], step: str,
        *, reduce: str = "", out: str | None = None, at: tuple[int, ...] | None = None,
    ) -> str:  # fmt: skip
        """One Einsum of the node."""
        return self.b.compute(
            expr, inputs, place, sizes, reduce=reduce, kind=f"{self.node.op_type}.{step}",
            name=f"{self.node.name}.{step}", out=out, at=at, bits=self.bits,
        )  # fmt: skip

    def element(self, gate: int) -> Affine:
        """Element h of a gate among all gates."""
        return Affine((("h", 1),), gate * self.hidden)

    def biased(self, cell: Cell, d: int, gate: int, expr: Expr, *, of: tuple[int, ...] = (0, 1)) -> Expr:
        """With the biases of the input (0), of the recurrence (1), or both, summed once per element."""
        if self.bias is None:
            return expr
        parts = [cell.read(self.bias, d, self.element(gate + which * self.gates)) for which in of]
        return add(expr, parts[0] if len(parts) == 1 else add(parts[0], parts[1]))

    def hidden_at(self, d: int, t: int | None, element: str) -> tuple[str, tuple[Affine | str | int, ...]] | None:
        """The hidden state after step t, or the first one where t is None: tensor and indices; None if it is 0."""
        if t is not None:
            return self.y, ("b", t, d, element) if self.batch_first else (t, d, "b", element)
        if self.first_h is None:
            return None
        return self.first_h, ("b", d, element) if self.batch_first else (d, "b", element)

    def write(self, expr: Expr, cell: Cell, d: int, t: int) -> None:
        """The hidden state after step t."""
        place: tuple[Affine | str, ...] = ("b", affine(0), affine(0), "h") if self.batch_first else (
            affine(0), affine(0), "b", "h")  # fmt: skip
        at = (0, t, d, 0) if self.batch_first else (t, d, 0, 0)
        self.emit(expr, cell.inputs, place, {"b": self.batch, "h": self.hidden}, "state", out=self.y, at=at)

    def keep(self, position: int, states: list[tuple[str, tuple[Affine | str | int, ...]]]) -> None:
        """Copy the last states of all directions into an output, if it is used."""
        if len(self.node.outputs) <= position or not self.g.is_used(self.node.outputs[position]):
            return
        name, first = self.node.outputs[position], self.batch_first
        shape = (self.batch, self.directions, self.hidden) if first else (self.directions, self.batch, self.hidden)
        self.b.activation(name, shape, self.bits)
        for d, (tensor, indices) in enumerate(states):
            place = ("b", affine(0), "h") if first else (affine(0), "b", "h")
            inputs = [Access(tensor, tuple(map(affine, indices)))]
            at = (0, d, 0) if first else (d, 0, 0)
            self.emit(Read(0), inputs, place, {"b": self.batch, "h": self.hidden}, "last", out=name, at=at)
        self.g.result(self.node, shape, position=position)


Step = Callable[[Recurrence, int, int, int | None, str, str], str]
"""Emits step t of direction d after step `before`, from the projected inputs; cell state in, cell state out."""


def _rnn(n: Recurrence, d: int, t: int, before: int | None, inputs: str, state: str) -> str:
    cell = Cell()
    expr = cell.read(inputs, t, "b", n.element(0))
    last = n.hidden_at(d, before, "k")
    if last is not None:
        expr = add(expr, cell.read(n.recurrent(d, last, range(1), "recurrent"), "b", "h"))
    n.write(n.functions[d][0](n.biased(cell, d, 0, expr)), cell, d, t)
    return state


def _lstm(n: Recurrence, d: int, t: int, before: int | None, inputs: str, state: str) -> str:
    """Gates in the order i, o, f, c; peepholes look at the cell state, that of o at the new one."""
    f, g, h = n.functions[d]
    last = n.hidden_at(d, before, "k")
    products = None if last is None else n.recurrent(d, last, range(4), "recurrent")

    def gate(cell: Cell, number: int) -> Expr:
        expr = cell.read(inputs, t, "b", n.element(number))
        if products is not None:
            expr = add(expr, cell.read(products, "b", n.element(number)))
        return n.biased(cell, d, number, expr)

    def peep(cell: Cell, expr: Expr, number: int, content: Expr) -> Expr:
        return expr if n.peep is None else add(expr, mul(cell.read(n.peep, d, n.element(number)), content))

    def old(cell: Cell) -> Expr:
        if before is None and n.batch_first:
            return cell.read(state, "b", d, "h")
        return cell.read(state, d, "b", "h") if before is None else cell.read(state, "b", "h")

    cell = Cell()
    if state:
        written = gate(cell, 0)
        kept = f(peep(cell, gate(cell, 2), 2, old(cell)))
        content = add(mul(kept, old(cell)), mul(f(peep(cell, written, 0, old(cell))), g(gate(cell, 3))))
    else:
        content = mul(f(gate(cell, 0)), g(gate(cell, 3)))
    sizes = {"b": n.batch, "h": n.hidden}
    new = n.emit(content, cell.inputs, ("b", "h"), sizes, "cell")
    cell = Cell()
    current = cell.read(new, "b", "h")
    n.write(mul(f(peep(cell, gate(cell, 1), 1, current)), h(current)), cell, d, t)
    return new


def _gru(n: Recurrence, d: int, t: int, before: int | None, inputs: str, state: str) -> str:
    """Gates in the order z, r, h; the reset acts on the last state, or (linear_before_reset) on its product."""
    f, g = n.functions[d]
    last = n.hidden_at(d, before, "k")
    late = bool(n.node.attributes.get("linear_before_reset", 0))
    products = None if last is None else n.recurrent(d, last, range(3 if late else 2), "recurrent")

    def gate(cell: Cell, number: int) -> Expr:
        expr = cell.read(inputs, t, "b", n.element(number))
        if products is not None:
            expr = add(expr, cell.read(products, "b", n.element(number)))
        return f(n.biased(cell, d, number, expr))

    cell = Cell()
    candidate = n.biased(cell, d, 2, cell.read(inputs, t, "b", n.element(2)), of=(0,) if late else (0, 1))
    if late:
        product = None if products is None else cell.read(products, "b", n.element(2))
        if n.bias is not None:
            bias = cell.read(n.bias, d, n.element(2 + n.gates))
            product = bias if product is None else add(product, bias)
        if product is not None:
            candidate = add(candidate, mul(gate(cell, 1), product))
    elif last is not None:
        reset = Cell()
        here = n.hidden_at(d, before, "h")
        assert here is not None
        expr = mul(gate(reset, 1), reset.read(here[0], *here[1]))
        kept = n.emit(expr, reset.inputs, ("b", "h"), {"b": n.batch, "h": n.hidden}, "reset")
        candidate = add(candidate, cell.read(n.recurrent(d, (kept, ("b", "k")), range(2, 3), "candidate"), "b", "h"))
    update = gate(cell, 0)
    expr = mul(sub(Const(1.0), update), g(candidate))
    old = n.hidden_at(d, before, "h")
    if old is not None:
        expr = add(expr, mul(update, cell.read(old[0], *old[1])))
    n.write(expr, cell, d, t)
    return state


STEPS: dict[str, Step] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


@operator(*STEPS)
def recurrent(g: GraphImport, node: Node) -> None:
    n = Recurrence(g, node)
    hidden: list[tuple[str, tuple[Affine | str | int, ...]]] = []
    cells: list[tuple[str, tuple[Affine | str | int, ...]]] = []
    for d, backward in enumerate(n.backward):
        inputs = n.project(d)
        order = range(n.steps - 1, -1, -1) if backward else range(n.steps)
        before: int | None = None
        state = n.first_c or ""
        for t in order:
            state = STEPS[node.op_type](n, d, t, before, inputs, state)
            before = t
        last = n.hidden_at(d, before, "h")
        assert last is not None
        hidden.append(last)
        cells.append((state, ("b", "h")))
    n.keep(1, hidden)
    if node.op_type == "LSTM":
        n.keep(2, cells)
