"""Operators that map every element."""

from __future__ import annotations

from math import inf
from typing import Any

from .recording import Ref
from .translation import DOMAIN, Operation, Refused, aten

SNAP = 1e-9
"""How far from one a product of a number and its reciprocal may be."""

UNARY = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
    "neg": "Neg", "erf": "Erf", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sign": "Sign", "sin": "Sin",
    "cos": "Cos", "reciprocal": "Reciprocal", "silu": "Swish", "hardswish": "HardSwish", "mish": "Mish",
    "selu": "Selu", "softsign": "Softsign", "isnan": "IsNaN", "logical_not": "Not",
}  # fmt: skip
"""Operators of one tensor and no option, as ONNX calls them."""


@aten(*UNARY)
def unary(op: Operation) -> None:
    op.emit(UNARY[op.call.target.split(".")[1]], [_promoted(op, op.tensor(0))])


def _promoted(op: Operation, name: str) -> str:
    """An integer operand of a function with a floating result, converted."""
    wanted, given = op.result.dtype, op.t.metas[name].dtype
    return op.cast(name, wanted) if "float" in wanted and "float" not in given else name


@aten("bitwise_not")
def bitwise_not(op: Operation) -> None:
    if op.result.dtype != "bool":
        raise Refused("on integers is not supported (on bool it is)")
    op.emit("Not", [op.tensor(0)])


@aten("rsqrt", "expm1", "log1p", "square")
def of_one(op: Operation) -> None:
    op.emit(op.call.target.split(".")[1], [_promoted(op, op.tensor(0))], domain=DOMAIN)


@aten("gelu")
def gelu(op: Operation) -> None:
    op.emit("Gelu", [op.tensor(0)], {"approximate": op.option("approximate", "none")})


@aten("leaky_relu")
def leaky_relu(op: Operation) -> None:
    op.emit("LeakyRelu", [op.tensor(0)], {"alpha": float(op.get(1, "negative_slope", 0.01))})


@aten("elu")
def elu(op: Operation) -> None:
    """``scale * (max(x, 0) + alpha * (exp(input_scale * min(x, 0)) - 1))``: SELU and CELU are written so too."""
    alpha, scale, inner = (float(op.get(1 + i, n, 1.0)) for i, n in enumerate(("alpha", "scale", "input_scale")))
    if inner == 1.0:
        op.emit("Elu" if scale == 1.0 else "Selu", [op.tensor(0)], {"alpha": alpha, "gamma": scale})
    elif scale == 1.0 and abs(inner * alpha - 1.0) < SNAP:
        op.emit("Celu", [op.tensor(0)], {"alpha": alpha})
    else:
        raise Refused(f"input_scale {inner} with alpha {alpha} is not supported")


@aten("celu")
def celu(op: Operation) -> None:
    op.emit("Celu", [op.tensor(0)], {"alpha": float(op.get(1, "alpha", 1.0))})


@aten("softplus")
def softplus(op: Operation) -> None:
    """The threshold above which torch takes the identity is one of numbers, not of cost."""
    if op.get(1, "beta", 1) != 1:
        raise Refused("beta is not supported")
    op.emit("Softplus", [op.tensor(0)])


@aten("hardsigmoid")
def hardsigmoid(op: Operation) -> None:
    op.emit("HardSigmoid", [op.tensor(0)], {"alpha": 1 / 6, "beta": 0.5})


@aten("log_sigmoid")
def log_sigmoid(op: Operation) -> None:
    op.emit("Log", [op.step("Sigmoid", [op.tensor(0)], op.result.shape)])


@aten("threshold")
def threshold(op: Operation) -> None:
    if op.get(2, "value") != 0:
        raise Refused("a value other than 0 below the threshold is not supported")
    op.emit("ThresholdedRelu", [op.tensor(0)], {"alpha": float(op.get(1, "threshold"))})


def _clip(op: Operation, low: Any, high: Any) -> None:
    bounds = [b.name if isinstance(b, Ref) else None if b is None or abs(b) == inf else op.number(b)
              for b in (low, high)]  # fmt: skip
    op.emit("Clip", [op.tensor(0), *bounds])


@aten("clamp", "clip", "hardtanh", "clamp_min", "clamp_max", "relu6")
def clip(op: Operation) -> None:
    match op.call.target.split(".")[1]:
        case "hardtanh":
            _clip(op, op.get(1, "min_val", -1.0), op.get(2, "max_val", 1.0))
        case "relu6":
            _clip(op, 0.0, 6.0)
        case "clamp_min":
            _clip(op, op.get(1, "min"), None)
        case "clamp_max":
            _clip(op, None, op.get(1, "max"))
        case _:
            _clip(op, op.get(1, "min"), op.get(2, "max"))


@aten("glu")
def glu(op: Operation) -> None:
    """One half times the sigmoid of the other."""
    x = op.tensor(0)
    axis = op.axis(op.get(1, "dim", -1), len(op.shape(x)))
    shape = op.result.shape
    halves = [op.t.unique(f"{op.call.name}/{part}") for part in ("value", "gate")]
    for half in halves:
        op.t.metas[half] = op.result
    op.emit("Split", [x, op.integers([shape[axis]] * 2)], {"axis": axis}, outputs=halves)
    op.emit("Mul", [halves[0], op.step("Sigmoid", [halves[1]], shape)])


@aten("prelu", "_prelu_kernel")
def prelu(op: Operation) -> None:
    x, slope = op.tensor(0), op.tensor(1, "weight")
    rank = len(op.shape(x))
    if len(op.shape(slope)) == 1 and rank > 2 and op.shape(slope) != (1,):
        slope = op.renamed(slope, (*op.shape(slope), *(1 for _ in range(rank - 2))))
    op.emit("PRelu", [x, slope])


# -- several tensors -------------------------------------------------------------------------------------------------


def operand(op: Operation, value: Any, dtype: str) -> str:
    """A tensor, or a number as a constant of that type."""
    return value.name if isinstance(value, Ref) else op.number(value, dtype)


def _arithmetic(op: Operation, op_type: str, a: Any, b: Any) -> str:
    """A node of two operands; its type is that of the result, which the first operand has or is converted to."""
    first, second = (operand(op, v, op.result.dtype) for v in (a, b))
    kinds = [op.t.metas[name].dtype for name in (first, second)]
    if kinds[0] != op.result.dtype:
        if op_type in ("Add", "Mul", "Max", "Min") and kinds[1] == op.result.dtype:
            first, second = second, first
        else:
            first = op.cast(first, op.result.dtype)
    return op.emit(op_type, [first, second])


def _scaled(op: Operation, value: Any, factor: Any) -> Any:
    """An operand times a number."""
    if factor == 1:
        return value
    if not isinstance(value, Ref):
        return value * factor
    return Ref(op.step("Mul", [value.name, op.number(factor)], op.shape(value.name)))


@aten("add", "sub", "subtract", "rsub")
def add(op: Operation) -> None:
    a, b, name = op.get(0, "self"), op.get(1, "other"), op.call.target.split(".")[1]
    b = _scaled(op, b, op.get(2, "alpha", 1))
    if name == "rsub":
        a, b = b, a
    _arithmetic(op, "Add" if name == "add" else "Sub", a, b)


@aten("mul", "multiply", "maximum", "minimum")
def product(op: Operation) -> None:
    kinds = {"maximum": "Max", "minimum": "Min"}
    _arithmetic(op, kinds.get(op.call.target.split(".")[1], "Mul"), op.get(0, "self"), op.get(1, "other"))


@aten("div", "divide", "true_divide", "floor_divide")
def quotient(op: Operation) -> None:
    a, b = op.get(0, "self"), op.get(1, "other")
    rounding = "floor" if "floor_divide" in op.call.target else op.option("rounding_mode")
    if rounding == "trunc":
        raise Refused("rounding_mode 'trunc' is not supported")
    if rounding is None:
        _arithmetic(op, "Div", a, b)
        return
    names = [operand(op, v, op.result.dtype) for v in (a, b)]
    op.emit("Floor", [op.step("Div", names, op.result.shape)])


@aten("pow")
def power(op: Operation) -> None:
    _arithmetic(op, "Pow", op.get(0, "self"), op.get(1, "exponent"))


@aten("addcmul")
def addcmul(op: Operation) -> None:
    shape = op.result.shape
    y = op.step("Mul", [op.tensor(1, "tensor1"), op.tensor(2, "tensor2")], shape)
    _arithmetic(op, "Add", op.get(0, "self"), _scaled(op, Ref(y), op.option("value", 1)))


# -- comparisons and choices -----------------------------------------------------------------------------------------

COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}


@aten(*COMPARISONS, "ne")
def comparison(op: Operation) -> None:
    name = op.call.target.split(".")[1]
    first = op.tensor(0)
    names = [first, operand(op, op.get(1, "other"), op.t.metas[first].dtype)]
    if name == "ne":
        op.emit("Not", [op.step("Equal", names, op.result.shape)])
    else:
        op.emit(COMPARISONS[name], names)


@aten("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__")
def logic(op: Operation) -> None:
    name = op.call.target.split(".")[1].strip("_")
    if op.result.dtype != "bool":
        raise Refused("on integers is not supported (on bool it is)")
    op.emit(name.rpartition("_")[2].capitalize(), [operand(op, op.get(i, n), "bool") for i, n in ((0, "self"),
                                                                                                (1, "other"))])


def _choice(op: Operation, condition: str, yes: Any, no: Any) -> None:
    op.emit("Where", [condition, *(operand(op, v, op.result.dtype) for v in (yes, no))])


@aten("where")
def where(op: Operation) -> None:
    if len(op.call.args) == 1:
        raise Refused("how many elements it gives depends on the data")
    _choice(op, op.tensor(0, "condition"), op.get(1, "self"), op.get(2, "other"))


@aten("masked_fill")
def masked_fill(op: Operation) -> None:
    _choice(op, op.tensor(1, "mask"), op.get(2, "value"), op.get(0, "self"))


