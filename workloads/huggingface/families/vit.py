"""ViT (arXiv:2010.11929): an encoder of image patches, with a class token and a classifier on it.

``num_labels`` (or the entries of ``id2label``) is the number of classes; without either there is no classifier.
"""

from __future__ import annotations

from ...transformer import Attention, Classifier, Layer, Mlp, Norm, PatchEmbedding, Transformer
from ..registry import Keys, family


@family("vit")
def vit(keys: Keys, name: str) -> Transformer:
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    layers = keys.layers("num_hidden_layers")
    keys.divides("num_attention_heads", "hidden_size", heads, hidden)
    norm = Norm("layer", keys.number("layer_norm_eps", 1e-12))
    bias = keys.flag("qkv_bias", True)
    attention = Attention(heads, heads, max(1, hidden // heads), qkv_bias=bias, out_bias=True)
    mlp = Mlp(keys.integer("intermediate_size"), keys.activation("hidden_act", "gelu"), False, True)
    side, patch = keys.integer("image_size"), keys.integer("patch_size")
    keys.divides("patch_size", "image_size", patch, side)
    embedding = PatchEmbedding((side, side), keys.integer("num_channels", 3), patch)
    names = keys.content.get("id2label")
    labels = keys.integer("num_labels", len(names) if isinstance(names, dict) else 0, 0)
    head = Classifier(labels) if labels else None
    return Transformer(name, hidden, (Layer(attention, mlp, norm),) * layers, embedding, head, norm, decoder=False)
