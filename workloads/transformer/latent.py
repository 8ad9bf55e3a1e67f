"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), expanded or absorbed."""

from __future__ import annotations

from ...ir import Access, Affine, Const, Read, affine, product
from .attention import key_index, mean_keys, softmax
from .site import Site
from .spec import LatentAttention


def latent_attention(site: Site, x: str, spec: LatentAttention, hidden: int) -> str:
    """Latent attention of x (batch, tokens, hidden), without the residual.

    The state ``kv_cache`` (batch, context, latent + rotary) holds the normalised latent vector and the rotated key that
    all heads share. Expanded, keys and values of all heads are computed from the whole cache, as the reference code of
    transformers does; absorbed, queries are brought into the latent space and attend to the cache itself, as section
    2.1.2 of the paper proposes: many more MACs per key, and no expansion. The joint projection of latent vector and
    rotary key is written as its two parts.
    """
    b, size = site.b, spec.plain + spec.rotary
    cache = b.state(site.name("kv_cache"), (site.batch, site.context, spec.latent + spec.rotary), site.bits.state)
    if spec.query_rank is None:
        q = site.linear(x, "q", spec.heads * size)
    else:
        compressed = site.norm(site.linear(x, "q_down", spec.query_rank, spec.bias), spec.norm, "q_norm")
        q = site.linear(compressed, "q_up", spec.heads * size)
    site.norm(site.linear(x, "kv_down", spec.latent, spec.bias), spec.norm, "kv_norm", out=cache, at=(0, site.past, 0))
    shared = site.linear(x, "k_shared", spec.rotary, spec.bias)
    site.rotate(shared, "k_rotary", 1, spec.rotary, spec.rotary, out=cache, at=(0, site.past, spec.latent))
    q = site.rotate(q, "q_rotary", spec.heads, size, spec.rotary, first=spec.plain)
    q = b.elementwise(product(Read(0), Const(spec.scale)), q, kind="Attention.scale", name=site.name("q_scale"))
    up = site.weight("kv_up.weight", spec.heads * (spec.plain + spec.value), spec.latent)
    absorb = site.tokens == 1 if site.options.absorb is None else site.options.absorb
    mixed = (_absorbed if absorb else _expanded)(site, q, cache, up, spec)
    heads = b.view(mixed, (site.batch, site.tokens, spec.heads * spec.value), out=site.name("attention_heads"))
    return site.linear(heads, "out", hidden, spec.bias)


def _up_rows(spec: LatentAttention, first: int, rank: str) -> Affine:
    """Rows of the up projection, per head `plain` of keys and then `value` of values."""
    return Affine((("h", spec.plain + spec.value), (rank, 1)), first)


def _expanded(site: Site, q: str, cache: str, up: str, spec: LatentAttention) -> str:
    b, size = site.b, spec.plain + spec.rotary
    space = {"b": site.batch, "m": site.context, "h": spec.heads}
    latent = Access(cache, (affine("b"), affine("m"), affine("l")))
    keys = b.activation(site.name("keys"), (site.batch, site.context, spec.heads, size))
    b.compute("mul", [latent, Access(up, (_up_rows(spec, 0, "e"), affine("l")))], ["b", "m", "h", "e"],
              {**space, "e": spec.plain, "l": spec.latent}, reduce="add", kind="Linear", name=site.name("k_up"),
              out=keys)
    turned = Access(cache, (affine("b"), affine("m"), Affine((("e", 1),), spec.latent)))
    b.compute(Read(0), [turned], ["b", "m", "h", Affine((("e", 1),), spec.plain)], {**space, "e": spec.rotary},
              kind="Rotary.copy", name=site.name("k_up.copy"), out=keys)
    values = b.compute("mul", [latent, Access(up, (_up_rows(spec, spec.plain, "f"), affine("l")))],
                       ["b", "m", "h", "f"], {**space, "f": spec.value, "l": spec.latent}, reduce="add",
                       kind="Linear", name=site.name("v_up"))
    heads = b.view(q, (site.batch, site.tokens, spec.heads, size), out=site.name("q_heads"))
    return _attend(site, heads, keys, values, ("h",), size, spec.value, spec)


def _absorbed(site: Site, q: str, cache: str, up: str, spec: LatentAttention) -> str:
    b, size, wide = site.b, spec.plain + spec.rotary, spec.latent + spec.rotary
    space = {"b": site.batch, "p": site.tokens, "h": spec.heads}
    heads = b.view(q, (site.batch, site.tokens, spec.heads, size), out=site.name("q_heads"))
    latent = b.activation(site.name("q_latent"), (site.batch, site.tokens, spec.heads, wide))
    plain = Access(heads, (affine("b"), affine("p"), affine("h"), affine("e")))
    b.compute("mul", [plain, Access(up, (_up_rows(spec, 0, "e"), affine("l")))], ["b", "p", "h", "l"],
              {**space, "l": spec.latent, "e": spec.plain}, reduce="add", kind="Linear", name=site.name("q_absorb"),
              out=latent)
    turned = Access(heads, (affine("b"), affine("p"), affine("h"), Affine((("e", 1),), spec.plain)))
    b.compute(Read(0), [turned], ["b", "p", "h", Affine((("e", 1),), spec.latent)], {**space, "e": spec.rotary},
              kind="Rotary.copy", name=site.name("q_absorb.copy"), out=latent)
    mixed = _attend(site, latent, cache, cache, (), wide, spec.latent, spec)
    inputs = [Access(mixed, tuple(map(affine, ("b", "p", "h", "l")))),
              Access(up, (_up_rows(spec, spec.plain, "f"), affine("l")))]
    return b.compute("mul", inputs, ["b", "p", "h", "f"], {**space, "f": spec.value, "l": spec.latent}, reduce="add",
                     kind="Linear", name=site.name("v_absorb"))


def _attend(
    site: Site, q: str, k: str, v: str, per_head: tuple[str, ...], width: int, value: int, spec: LatentAttention
) -> str:
    """softmax(Q K) V with keys and values (batch, context, *per_head, ...); result (batch, tokens, heads, value)."""
    b = site.b
    seen = mean_keys(site.tokens, site.context, site.options.causal, None)
    m = key_index(seen, site.context)
    outer = {"b": site.batch, "h": spec.heads, "p": site.tokens}
    space = {**outer, "m": seen}
    rest = tuple(map(affine, per_head))
    queries = Access(q, tuple(map(affine, ("b", "p", "h", "e"))))
    scores = b.compute("mul", [queries, Access(k, (affine("b"), m, *rest, affine("e")))], list(space),
                       {**space, "e": width}, reduce="add", kind="Attention.scores",
                       name=site.name("attention.scores"))
    share = softmax(site, scores, outer, seen)
    inputs = [Access(share, tuple(map(affine, space))), Access(v, (affine("b"), m, *rest, affine("f")))]
    return b.compute("mul", inputs, ["b", "p", "h", "f"], {**space, "f": value}, reduce="add",
                     kind="Attention.values", name=site.name("attention.values"))
