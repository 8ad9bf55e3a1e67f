"""Feed-forward models as lists of layers in YAML: the format of the zoo, for users too.

    name: tiny
    source: where the shapes come from
    input: [3, 32, 32]                 # without the batch; channels, height, width for images
    blocks:                            # lists of layers with parameters; null: must be given
      unit:
        parameters: {out: null, stride: 1}
        layers:
        - conv: {out: $out, kernel: 3, stride: $stride, pad: 1, bias: false}
        - batch_norm
        - relu
    layers:
    - unit: {out: 16}
    - residual: [unit: {out: 16}]
    - global_pool
    - flatten
    - linear: {out: 10}

Every layer takes what the one before it gives. A layer is a word, ``{kind: value}`` (the value of its first argument),
or ``{kind: {argument: value, ...}}``; `name` may be among the arguments. A block is used like a kind. Layers that hold
layers are ``residual`` (sum of a body and a shortcut), ``concat`` (branches joined along channels), ``scale`` (product
with a branch), ``times`` (written out several times), ``repeat`` (a Repeat: the shape must come out as it went in) and
``harmonic_block`` (layers linked at distances of powers of two). All kinds, with arguments and meaning, are the
functions of `kinds`, `blocks` and `tokens`; `layer_kinds` lists them.

Dropout is not written: the models are for inference. Batch normalisation holds two weights per channel (mean and
variance folded in). Padding is counted dense.
"""

from .reader import layer_kinds, load_layers, loads_layers

__all__ = ["layer_kinds", "load_layers", "loads_layers"]
