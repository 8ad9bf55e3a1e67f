"""A mixture of experts: router, dispatch, experts, weighted sum."""

from __future__ import annotations

from ...ir import ACTIVATIONS, Access, Affine, Apply, Const, Read, affine, product
from .site import Site
from .spec import Experts


def balanced(rows: int, count: int) -> list[tuple[int, int]]:
    """Spread rows over experts as evenly as can be: (experts, rows of each), for those that get any.

        >>> balanced(10, 4)
        [(2, 3), (2, 2)]
    """
    least, more = divmod(rows, count)
    groups = [(more, least + 1), (count - more, least)]
    return [(experts, each) for experts, each in groups if experts and each]


def experts(site: Site, x: str, spec: Experts) -> str:
    """A mixture of experts on x (batch, tokens, hidden), without the residual.

    Which expert a token goes to is data. Load is taken to be balanced: batch * tokens * active rows are spread evenly
    over the experts, every token sent to `active` of them; with fewer rows than experts, each row has an expert of its
    own. The weights of all experts are held, those of experts with rows are read and computed. Dispatch copies every
    token `active` times, and the best scores are found by one maximum per active expert. Groups of experts, biases of
    the choice and capacity limits change no count and are left out, the biases but as weights.
    """
    b = site.b
    batch, tokens, hidden = b.shape(x)
    flat = b.view(x, (batch * tokens, hidden), out=site.name("tokens_flat"))
    weights = _route(site, flat, spec)
    rows = _dispatch(site, flat, spec.active)
    results = _run(site, rows, spec)
    sizes = {"a": spec.active, "t": batch * tokens, "h": hidden}
    row = Affine((("a", batch * tokens), ("t", 1)))
    inputs = [Access(results, (row, affine("h"))), Access(weights, (affine("a"), affine("t")))]
    weighted = b.compute("mul", inputs, list(sizes), sizes, kind="Experts.weigh", name=site.name("weigh"))
    out = b.reduce(weighted, "add", 0, kind="Experts.combine", name=site.name("combine"))
    if spec.shared is not None:
        out = b.elementwise("add", out, _shared(site, flat, spec), kind="Experts.add", name=site.name("shared_add"))
    return b.view(out, (batch, tokens, hidden), out=site.name("experts_out"))


def _route(site: Site, flat: str, spec: Experts) -> str:
    """Weights of the chosen experts, (active, tokens)."""
    b = site.b
    logits = site.linear(flat, "router", spec.count)
    if spec.scoring == "softmax":
        scores = b.softmax(logits, kind="Router", name=site.name("router.softmax"))
    else:
        scores = b.sigmoid(logits, kind="Router", name=site.name("router.sigmoid"))
    choice = scores
    if spec.router_bias:
        bias = site.weight("router.choice_bias", spec.count)
        choice = b.elementwise("add", scores, bias, kind="Router.bias", name=site.name("router.biased"))
    sizes = {"a": spec.active, "t": b.shape(flat)[0], "x": spec.count}
    best = b.compute(Read(0), [Access(choice, (affine("t"), affine("x")))], ["a", "t"], sizes, reduce="max",
                     kind="Router.top", name=site.name("router.top"))
    if spec.normalised:
        total = b.reduce(best, "add", 0, True, kind="Router.sum", name=site.name("router.sum"))
        expr = Apply("div", (Read(0), Read(1)))
        return b.elementwise(_scaled(expr, spec.scaling), best, total, kind="Router.weights",
                             name=site.name("router.weights"))
    if spec.scaling == 1.0:
        return best
    return b.elementwise(_scaled(Read(0), spec.scaling), best, kind="Router.weights", name=site.name("router.weights"))


def _scaled(expr: Apply | Read, factor: float) -> Apply | Read:
    return expr if factor == 1.0 else Apply("mul", (expr, Const(factor)))


def _dispatch(site: Site, flat: str, active: int) -> str:
    """(active * tokens, hidden): every token `active` times."""
    tokens, hidden = site.b.shape(flat)
    sizes = {"a": active, "t": tokens, "h": hidden}
    row = Affine((("a", tokens), ("t", 1)))
    return site.b.compute(Read(0), [Access(flat, (affine("t"), affine("h")))], [row, affine("h")], sizes,
                          kind="Experts.dispatch", name=site.name("dispatch"))


def _run(site: Site, rows: str, spec: Experts) -> str:
    """The MLP of an expert on every row, (rows, hidden); rows of one expert stand together."""
    b, mlp = site.b, spec.expert
    hidden = b.shape(rows)[-1]
    act = ACTIVATIONS[mlp.activation]
    gate = _project(site, rows, "gate", mlp.intermediate, spec) if mlp.gated else ""
    up = _project(site, rows, "up", mlp.intermediate, spec)
    expr, read = (product(act, Read(1)), (gate, up)) if mlp.gated else (act, (up,))
    inner = b.elementwise(expr, *read, kind="Activation", name=site.name("expert.activation"))
    return _project(site, inner, "down", hidden, spec)


def _project(site: Site, rows: str, name: str, width: int, spec: Experts) -> str:
    """Rows times the weights of their expert: one contraction for all experts with as many rows as each other."""
    b = site.b
    total, inner = b.shape(rows)
    weight = site.weight(f"expert.{name}.weight", spec.count, width, inner)
    out = b.activation(site.name(f"expert.{name}"), (total, width))
    first_row = first_expert = 0
    for count, each in balanced(total, spec.count):
        row = Affine((("x", each), ("r", 1)), first_row)
        inputs = [
            Access(rows, (row, affine("k"))),
            Access(weight, (Affine((("x", 1),), first_expert), affine("n"), affine("k"))),
        ]
        sizes = {"x": count, "r": each, "n": width, "k": inner}
        b.compute("mul", inputs, [row, affine("n")], sizes, reduce="add", kind="Expert", out=out,
                  name=site.name(f"expert.{name}"))
        first_row, first_expert = first_row + count * each, first_expert + count
    return out


def _shared(site: Site, flat: str, spec: Experts) -> str:
    """The MLP that all tokens pass, weighted by its gate if it has one."""
    assert spec.shared is not None
    out = site.mlp(flat, spec.shared, "shared")
    if not spec.shared_gate:
        return out
    gate = site.linear(flat, "shared_gate", 1)
    expr = Apply("mul", (Read(0), Apply("sigmoid", (Read(1),))))
    return site.b.elementwise(expr, out, gate, kind="Experts.gate", name=site.name("shared_gated"))
