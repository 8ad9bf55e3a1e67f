"""A model read from a config, and the Workloads of its phases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import BadInput
from ...ir import Workload
from ..transformer import Bits, HeadOn, Options, PatchEmbedding, Transformer, build

DEFAULT_SEQ = 1024
"""Tokens per sequence where nothing is said, or the positions the model has, if fewer."""


@dataclass(frozen=True)
class Phase:
    """A Workload of a generation, and how many times it runs.

    `contexts` are the contexts it stands for: of a prefill, the length of the prompt alone.
    """

    name: str
    workload: Workload
    count: int
    contexts: range


@dataclass(frozen=True)
class Generation:
    """Tokens generated from a prompt: a prefill, which gives the first token, and one decode for each of the others.

    Attributes:
        prefill: over the prompt.
        decode: the Workload of one token, from its context (tokens that it attends to, itself included).
        contexts: of the decoded tokens, one after the other.
    """

    prefill: Workload
    decode: Callable[[int], Workload]
    contexts: range

    def phases(self, step: int = 1) -> Iterator[Phase]:
        """The prefill, then decodes in groups of `step` successive tokens.

        A group is one Workload at the mean of its contexts, rounded up, and its length. Work and traffic grow linearly
        with the context (but where a sliding window fills up), so groups of odd length lose nothing.

        Raises:
            BadInput: `step` is not positive.
        """
        if step < 1:
            raise BadInput(f"{self.prefill.name}: groups of {step} tokens (at least 1)")
        prompt = self.contexts.start - 1
        yield Phase("prefill", self.prefill, 1, range(prompt, prompt + 1))
        for first in range(self.contexts.start, self.contexts.stop, step):
            group = range(first, min(first + step, self.contexts.stop))
            mean = first + len(group) // 2
            yield Phase("decode", self.decode(mean), len(group), group)


@dataclass(frozen=True)
class HFModel:
    """A model read from a config."""

    spec: Transformer
    source: str = ""

    @property
    def name(self) -> str:
        return self.spec.name

    def prefill(
        self, batch: int = 1, seq: int | None = None, *, head: HeadOn = "all", bits: int = 16,
        weight_bits: int | None = None, state_bits: int | None = None, causal: bool = False,
        sliding_window: bool = False, absorb: bool | None = None,
    ) -> Workload:
        """All `seq` tokens of each of `batch` sequences at once; a decoder writes keys and values into its cache.

        For an encoder this is the only phase.

        Args:
            batch: sequences, or images.
            seq: tokens per sequence; default: 1024, or the positions of the model, if fewer. Not for images.
            head: apply the vocabulary projection to all tokens, to the last of each sequence, or not at all; the
                pooler or classifier of an encoder unless "none".
            bits: per element of activations.
            weight_bits: of weights; default: `bits`.
            state_bits: of the KV cache; default: `bits`.
            causal: count the half of the scores that the causal mask keeps; default: all, masked or not.
            sliding_window: layers that have a window attend to no more keys than it holds; default: to all.
            absorb: latent attention attends to the cache itself; default: in decode alone. See `LatentAttention`.

        Raises:
            BadInput: a number is not positive or exceeds the learned positions of the model, or an option is not for
                this model.
        """
        tokens = self._tokens(seq)
        return build(self.spec, "prefill", batch, tokens, tokens, head, _bits(bits, weight_bits, state_bits),
                     Options(causal, sliding_window, absorb))

    def decode(
        self, batch: int = 1, context: int | None = None, *, head: HeadOn = "all", bits: int = 16,
        weight_bits: int | None = None, state_bits: int | None = None, sliding_window: bool = False,
        absorb: bool | None = None,
    ) -> Workload:
        """One new token for each of `batch` sequences.

        `context` counts the tokens that the new one attends to, itself included: the cache is read whole, with its
        last entry written by this step; default as for `seq` in `prefill`. With `sliding_window`, the caches of layers
        with a window hold no more than that. Other arguments as in `prefill`.
        """
        if not self.spec.decoder:
            raise BadInput(f"{self.name}: an encoder has no phase 'decode' (prefill computes all tokens at once)")
        length = self._tokens(context)
        return build(self.spec, "decode", batch, 1, length, head, _bits(bits, weight_bits, state_bits),
                     Options(False, sliding_window, absorb))

    def generate(
        self, prompt: int, tokens: int, batch: int = 1, *, head: HeadOn = "last", bits: int = 16,
        weight_bits: int | None = None, state_bits: int | None = None, causal: bool = False,
        sliding_window: bool = False,
    ) -> Generation:
        """`tokens` tokens after a prompt of `prompt` tokens, for each of `batch` sequences.

        The first comes from the prefill, so there are ``tokens - 1`` decodes, of contexts ``prompt + 1`` and up. Other
        arguments as in `prefill`.

        Raises:
            BadInput: as `prefill`; `tokens` is not positive, or the last context exceeds the learned positions.

        Example:
            >>> from accelsim.workloads.huggingface import load_config
            >>> steps = load_config("gpt2").generate(prompt=512, tokens=101)
            >>> [(phase.name, phase.count) for phase in steps.phases(step=50)]
            [('prefill', 1), ('decode', 50), ('decode', 50)]
        """
        if tokens < 1:
            raise BadInput(f"{self.name}: {tokens} tokens to generate (at least 1)")
        most = self.spec.positions
        if most is not None and prompt + tokens - 1 > most:
            raise BadInput(f"{self.name}: a prompt of {prompt} and {tokens} new tokens exceed the {most} learned "
                           "positions of the model")

        def decode(context: int) -> Workload:
            return self.decode(batch, context, head=head, bits=bits, weight_bits=weight_bits, state_bits=state_bits,
                               sliding_window=sliding_window)

        first = self.prefill(batch, prompt, head=head, bits=bits, weight_bits=weight_bits, state_bits=state_bits,
                             causal=causal, sliding_window=sliding_window)
        return Generation(first, decode, range(prompt + 1, prompt + tokens))

    def _tokens(self, given: int | None) -> int:
        if isinstance(self.spec.embedding, PatchEmbedding):
            tokens = self.spec.embedding.tokens
            if given not in (None, tokens):
                raise BadInput(f"{self.name}: {given} tokens (an image is {tokens} tokens; leave seq out)")
            return tokens
        return min(DEFAULT_SEQ, self.spec.positions or DEFAULT_SEQ) if given is None else given


def _bits(bits: int, weight_bits: int | None, state_bits: int | None) -> Bits:
    return Bits(bits, bits if weight_bits is None else weight_bits, bits if state_bits is None else state_bits)
