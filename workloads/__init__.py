"""Importers that turn models into Workloads, and a zoo of models as data.

``load_model`` takes a name or a path; behind it stand ``huggingface`` (configs of transformers), ``layers`` (layer
lists), ``onnx_import``, and ``text`` (SCALE-Sim, cascades, ZigZag).
"""

from .loading import load_model

__all__ = ["load_model"]
