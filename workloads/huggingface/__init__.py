"""Transformers from a Hugging Face ``config.json``, without the transformers library or any weights.

The layers are Repeats: weights and KV cache are one per iteration. Sizes follow the reference code of transformers,
file ``modeling_<family>.py``; projections that it fuses (QKV, gate and up, latent and rotary key) are written as their
parts, with the same parameters and the same MACs.

What is counted: projections and attention are contractions (their points are the MACs); norms, softmax, rotary
embeddings, scaling, activations and the weighted sum of experts are Einsums of element-wise operations. Unless options
say otherwise, attention computes all scores of a head, masked or not, as a kernel without causal skipping does, and
ignores sliding windows; the mask itself is not modelled. Dropout, auxiliary losses and the prediction of several tokens
at once are left out.

*A new family* is one module in ``families``: a function that reads its keys, marked with ``@family("model_type")``, and
the name of the module in ``families/__init__.py``.
"""

from .config import load_config
from .model import Generation, HFModel, Phase
from .registry import Keys, family, family_names

__all__ = ["Generation", "HFModel", "Keys", "Phase", "family", "family_names", "load_config"]
