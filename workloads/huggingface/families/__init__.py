"""One module per family of models; importing this package registers them all."""

from . import bert, deepseek, gemma, gpt2, llama, mixtral, opt, phi, vit

__all__ = ["bert", "deepseek", "gemma", "gpt2", "llama", "mixtral", "opt", "phi", "vit"]
