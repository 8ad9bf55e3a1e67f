"""The two ends of a transformer: embeddings of tokens or patches, and heads."""

from __future__ import annotations

from ...errors import BadInput
from ...ir import Access, Affine, Const, Read, affine, product
from .attention import soft_cap
from .site import Site
from .spec import Classifier, Head, PatchEmbedding, Pooler, TokenEmbedding, Transformer, VocabularyHead


def embed(site: Site, model: Transformer) -> str:
    """What enters the first layer, (batch, tokens, hidden)."""
    if isinstance(model.embedding, PatchEmbedding):
        return _patches(site, model.embedding, model.hidden)
    return _tokens(site, model.embedding, model)


def _tokens(site: Site, spec: TokenEmbedding, model: Transformer) -> str:
    b, hidden = site.b, model.hidden
    ids = b.input("tokens", (site.batch, site.tokens), 32)
    table = site.weight("embedding", spec.vocabulary, spec.width or hidden)
    x = b.gather(table, ids, kind="Embedding", name="embed", bits=site.bits.activation)
    if spec.scale != 1.0:
        x = b.elementwise(product(Read(0), Const(spec.scale)), x, kind="Embedding.scale", name="embed.scale")
    if spec.width not in (None, hidden):
        x = site.linear(x, "embed_in", hidden)
    sizes = {"b": site.batch, "s": site.tokens, "k": hidden}
    if spec.positions is not None:
        learned = site.weight("positions", spec.positions + spec.first_position, hidden)
        row = Affine((("s", 1),), site.past + spec.first_position)
        inputs = [Access(x, tuple(map(affine, sizes))), Access(learned, (row, affine("k")))]
        x = b.compute("add", inputs, list(sizes), sizes, kind="Embedding.position", name="embed.position")
    if spec.types:
        types = site.weight("token_types", spec.types, hidden)
        inputs = [Access(x, tuple(map(affine, sizes))), Access(types, (affine(0), affine("k")))]
        x = b.compute("add", inputs, list(sizes), sizes, kind="Embedding.type", name="embed.type")
    return x if spec.norm is None else site.norm(x, spec.norm, "embed_norm")


def _patches(site: Site, spec: PatchEmbedding, hidden: int) -> str:
    b, side = site.b, spec.patch
    image = b.input("image", (site.batch, spec.channels, *spec.image))
    weight = site.weight("patches.weight", hidden, spec.channels, side, side)
    bias = site.weight("patches.bias", hidden) if spec.bias else None
    grid = b.conv(image, weight, bias, strides=(side, side), name="patches")
    flat = b.view(grid, (site.batch, hidden, spec.tokens - 1))
    first, learned = site.weight("class_token", hidden), site.weight("positions", spec.tokens, hidden)
    x = b.activation("embed", (site.batch, spec.tokens, hidden))
    sizes = {"b": site.batch, "k": hidden}
    inputs = [Access(first, (affine("k"),)), Access(learned, (affine(0), affine("k")))]
    b.compute("add", inputs, ["b", 0, "k"], sizes, kind="Embedding.position", name="embed.class", out=x)
    row = Affine((("s", 1),), 1)
    inputs = [Access(flat, (affine("b"), affine("k"), affine("s"))), Access(learned, (row, affine("k")))]
    b.compute("add", inputs, ["b", row, "k"], {**sizes, "s": spec.tokens - 1}, kind="Embedding.position",
              name="embed.position", out=x)
    return x


def head_of(site: Site, x: str, model: Transformer, head: Head, on: str) -> str:
    """The result of the head on x (batch, tokens, hidden); `on` says for which tokens logits are computed."""
    b = site.b
    if isinstance(head, VocabularyHead):
        return _logits(site, x, model, head, on)
    width = model.hidden if isinstance(head, Pooler) else head.labels
    name = "pooler" if isinstance(head, Pooler) else "logits"
    y = _one_token(site, x, 0, site.weight(f"{name}.weight", width, model.hidden), f"{name}.matmul")
    y = b.elementwise("add", y, site.weight(f"{name}.bias", width), kind="Head.bias", name=name)
    return y if isinstance(head, Classifier) else b.tanh(y, kind="Head.tanh", name="pooled")


def _one_token(site: Site, x: str, token: int, weight: str, name: str) -> str:
    sizes = {"b": site.batch, "n": site.b.shape(weight)[0], "k": site.b.shape(weight)[1]}
    inputs = [Access(x, (affine("b"), affine(token), affine("k"))), Access(weight, (affine("n"), affine("k")))]
    return site.b.compute("mul", inputs, ["b", "n"], sizes, reduce="add", kind="Head", name=name)


def _logits(site: Site, x: str, model: Transformer, head: VocabularyHead, on: str) -> str:
    b, spec = site.b, model.embedding
    if not isinstance(spec, TokenEmbedding):
        raise BadInput(f"{model.name}: logits over a vocabulary need an embedding of tokens")
    width = spec.width or model.hidden
    if width != model.hidden:
        x = site.linear(x, "embed_out", width)
    weight = "embedding" if head.tied else site.weight("head", spec.vocabulary, width)
    name = "logits.matmul" if head.bias or head.softcap else "logits"
    if on == "all":
        y = b.linear(x, weight, name=name, kind="Head")
    else:
        y = _one_token(site, x, site.tokens - 1, weight, name)
    if head.bias:
        name = "logits.bias" if head.softcap else "logits"
        y = b.elementwise("add", y, site.weight("head.bias", spec.vocabulary), kind="Head.bias", name=name)
    return soft_cap(site, y, head.softcap, "logits")
