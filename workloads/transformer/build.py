"""A transformer as a Workload: embedding, repeats of layers, head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

from ...errors import BadInput
from ...ir import Workload, WorkloadBuilder
from .attention import attention
from .ends import embed, head_of
from .experts import experts
from .latent import latent_attention
from .site import Site
from .spec import Attention, Bits, Layer, Mlp, Options, Stack, Transformer, stacks

HeadOn: TypeAlias = Literal["all", "last", "none"]


def build(
    model: Transformer, phase: str, batch: int, tokens: int, context: int, head: HeadOn, bits: Bits,
    options: Options | None = None,
) -> Workload:
    """The Workload in which `tokens` new tokens per sequence attend to `context` tokens, themselves included.

    Of a decoder: input ``tokens`` (batch, tokens); per layer, states ``layer.k_cache`` and ``layer.v_cache`` (batch,
    context, kv_heads * head_size), or ``layer.kv_cache`` of latent attention, of which the last `tokens` rows are
    written; output ``logits`` (batch, tokens, vocabulary), for ``head="last"`` (batch, vocabulary); for ``head="none"``
    the output is the final norm (batch, tokens, hidden). Where layers are of several kinds, their label stands in place
    of ``layer``. An encoder has no states; its head, on the first token, is computed unless ``head="none"``. The input
    of a model of images is ``image`` (batch, channels, height, width).

    With ``options.causal``, or a sliding window in prefill, every query attends to as many keys as queries do on
    average, see `mean_keys`; full attention is the default, as a kernel without skipping computes it. A decoded token
    attends to exactly the keys in its window, and the cache of such a layer holds no more.

    Raises:
        BadInput: a number is not positive, `context` exceeds the learned positions, or an option is not for encoders.
    """
    for what, value in (("batch", batch), ("seq", tokens), ("context", context)):
        if value < 1:
            raise BadInput(f"{model.name}: {what} is {value} (at least 1)")
    if head not in ("all", "last", "none"):
        raise BadInput(f"{model.name}: head '{head}' (one of all, last, none)")
    if model.positions is not None and context > model.positions:
        raise BadInput(f"{model.name}: {context} tokens exceed the {model.positions} learned positions of the model")
    options = options or Options()
    if not model.decoder and (options.causal or options.sliding_window):
        raise BadInput(f"{model.name}: causal and sliding_window are for decoders; in an encoder all tokens see each "
                       "other")
    b = WorkloadBuilder(f"{model.name}.{phase}", bits=bits.activation)
    site = Site(b, bits, options, batch, tokens, context, model.decoder, prefix="")
    x = embed(site, model)
    turned = sorted({layer.attention.rotary for layer in model.layers} - {0})
    for size in turned:
        name = "rotary" if len(turned) == 1 else f"rotary{size}"
        site.tables[size] = (b.weight(f"{name}.cos", (tokens, size // 2), bits.activation),
                             b.weight(f"{name}.sin", (tokens, size // 2), bits.activation))
    used: dict[str, int] = {}
    for stack in stacks(_windowed(model.layers, options.sliding_window)):
        x = stack_of(site, x, stack, used, partial(_layer, site, model.hidden))
    if model.final_norm is not None:
        x = site.norm(x, model.final_norm, "final_norm")
    b.output(x if head == "none" or model.head is None else head_of(site, x, model, model.head, head))
    return b.build()


def _windowed(layers: Sequence[Layer], sliding: bool) -> list[Layer]:
    """The layers as they attend: without windows, or labelled ``local`` and ``global``, if there are both."""
    if not sliding:
        return [replace(layer, attention=replace(layer.attention, window=None))
                if isinstance(layer.attention, Attention) else layer for layer in layers]
    if len({layer.attention.window for layer in layers}) == 1:
        return list(layers)
    return [replace(layer, label="global" if layer.attention.window is None else "local")
            if layer.label == "layer" else layer for layer in layers]


def unused(label: str, used: dict[str, int]) -> str:
    """A label that no stack bears yet."""
    used[label] = used.get(label, 0) + 1
    return label if used[label] == 1 else f"{label}_{used[label]}"


def stack_of(site: Site, x: str, stack: Stack, used: dict[str, int], run: Callable[[str, str, Layer], str]) -> str:
    """The layers of a stack, one after the other and as often as it says; `run` adds a layer to x under a prefix."""
    prefixes = [unused(layer.label, used) for layer in stack.layers]
    name = prefixes[0] if len(prefixes) == 1 else unused("layers", used)
    with site.b.repeat(name, stack.count) as scope:
        for layer in stack.layers:
            scope.share(*site.tables.get(layer.attention.rotary, ()))
        first = x
        for prefix, layer in zip(prefixes, stack.layers, strict=True):
            x = run(x, prefix, layer)
        scope.carry(x, first)
    return x


def _layer(site: Site, hidden: int, x: str, prefix: str, layer: Layer) -> str:
    here = _site_of(site, prefix, layer)
    return layer_of(here, x, layer, partial(_attend, here, layer=layer, hidden=hidden))


def _site_of(site: Site, prefix: str, layer: Layer) -> Site:
    """In decode, the cache of a layer with a window holds no more than the window."""
    window = layer.attention.window
    if window is None or not site.options.sliding_window or site.tokens > 1:
        return site.at(prefix)
    return site.at(prefix, context=min(window, site.context))


def _attend(site: Site, y: str, layer: Layer, hidden: int) -> str:
    if isinstance(layer.attention, Attention):
        return attention(site, y, layer.attention, hidden)
    return latent_attention(site, y, layer.attention, hidden)


def layer_of(site: Site, x: str, layer: Layer, attend: Callable[[str], str]) -> str:
    """A layer on x (batch, tokens, hidden); `attend` makes the attention of a normalised x, without the residual."""
    b = site.b

    def feed(y: str) -> str:
        return site.mlp(y, layer.mlp) if isinstance(layer.mlp, Mlp) else experts(site, y, layer.mlp)

    def add(a: str, c: str, part: str) -> str:
        return b.elementwise("add", a, c, kind="Residual", name=site.name(f"{part}_residual"))

    if layer.placement == "parallel":
        y = site.norm(x, layer.norm, "norm")
        both = b.elementwise("add", attend(y), feed(y), kind="Residual", name=site.name("parallel_sum"))
        return add(x, both, "parallel")  # last, so that sockets that share a layer add up one sum
    for part, function in (("attention", attend), ("mlp", feed)):
        if layer.placement == "post":
            x = site.norm(add(x, function(x), part), layer.norm, f"{part}_norm")
            continue
        y = function(site.norm(x, layer.norm, f"{part}_norm"))
        if layer.placement == "sandwich":
            y = site.norm(y, layer.norm, f"{part}_post_norm")
        x = add(x, y, part)
    return x
