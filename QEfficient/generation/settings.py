"""What a request asks for: every parameter of transformers' ``GenerationConfig`` that changes what is written.

Names and defaults are transformers' (5.24). ``settings_reading.py`` reads them, ``settings_fields.py`` has all fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from QEfficient.errors import InputError

FILE = "the repo's generation_config.json"


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Every parameter, with its own name in transformers; the last five are the library's.

    ``temperature=0`` is what OpenAI's clients send for the likeliest token each time, so it is greedy search here;
    transformers refuses it.

    Attributes:
        max_length, max_new_tokens: Most tokens with the prompt's and without; see :meth:`most_new_tokens`.
        min_length, min_new_tokens: Least tokens, likewise; before that no end token is chosen.
        early_stopping: Of beams: ``True`` ends with ``num_beams`` whole ones, ``False`` where better ones are unlikely,
            ``"never"`` where they are impossible.
        max_time: Seconds behind which it ends, with ``"length"``.
        stop_strings: Strings that end it with the token that completes one.
        do_sample: Draws tokens; ``False`` takes the likeliest.
        num_beams, num_return_sequences: Beams that are followed, and sequences that come back.
        temperature, top_k, top_p, min_p, top_h, typical_p, epsilon_cutoff, eta_cutoff: Which tokens are drawn.
        repetition_penalty: Divides logits of the tokens of prompt and answer.
        encoder_repetition_penalty: Multiplies the logits of the source's tokens: those that an encoder has read, or the
            prompt's where there is none.
        length_penalty: Exponent of the length by which a beam's score is divided.
        no_repeat_ngram_size: No n-gram of this size comes twice; 0: any may.
        encoder_no_repeat_ngram_size: No n-gram of this size of the source comes in the answer; 0: any may.
        bad_words_ids: Sequences of tokens that don't come.
        sequence_bias: Sequence of tokens → what is added to its last token's logit.
        renormalize_logits: Log-probabilities at the end of all processors.
        remove_invalid_values: NaN and infinities are replaced.
        forced_bos_token_id: The second token behind a prompt of one token.
        forced_eos_token_id: Those of which one is the last token where the length is reached.
        exponential_decay_length_penalty: ``(start, factor)`` by which end tokens become likelier.
        suppress_tokens, begin_suppress_tokens: Never chosen; never chosen first.
        pad_token_id, bos_token_id: As the repo has them; what is chosen does not depend on them.
        eos_token_id: All end tokens.
        output_scores, output_logits, return_dict_in_generate: What comes back beside tokens.
        prompt_lookup_num_tokens: Tokens that are drafted at once out of the text so far, at most; 0: none; ``None``: as
            many as the program was compiled for (``num_speculative_tokens``).
        max_matching_ngram_size: Tokens that are compared to find them, at most; ``None``: as many as are of use.
        presence_penalty, frequency_penalty: OpenAI's: off a token that is in the answer so far, once or as often.
        logit_bias: OpenAI's: token → what is added to its logit.
        logprobs: How many of the best log-probabilities come back with each token's own; of the model's raw logits.
        seed: Of the random numbers; ``None``: another one each time.
        named: The parameters that the caller named.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    early_stopping: bool | Literal["never"] = False
    max_time: float | None = None
    stop_strings: tuple[str, ...] = ()
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    top_h: float | None = None
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    sequence_bias: Mapping[tuple[int, ...], float] = field(default_factory=dict)
    renormalize_logits: bool = False
    remove_invalid_values: bool = False
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    output_scores: bool = False
    output_logits: bool = False
    return_dict_in_generate: bool = False
    prompt_lookup_num_tokens: int | None = None
    max_matching_ngram_size: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    seed: int | None = None
    named: frozenset[str] = frozenset()

    @property
    def biases(self) -> dict[tuple[int, ...], float]:
        """``sequence_bias`` and ``logit_bias`` in one; what both have is summed."""
        together = dict(self.sequence_bias)
        for token, bias in self.logit_bias.items():
            together[(token,)] = together.get((token,), 0.0) + bias
        return together

    @property
    def banned(self) -> tuple[tuple[int, ...], ...]:
        """``bad_words_ids`` without end tokens, which transformers lets through."""
        return tuple(ids for ids in self.bad_words_ids if len(ids) > 1 or ids[0] not in self.eos_token_id)

    @property
    def unused(self) -> tuple[str, ...]:
        """Parameters that the caller named and that do nothing with the others: transformers logs a warning of them."""
        drawn = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
        beams = ("early_stopping", "length_penalty")
        idle = (() if self.do_sample else drawn) + (() if self.num_beams > 1 else beams)
        default = GenerationSettings()
        greedy = {"temperature"} if self.temperature == 0 else set()
        return tuple(
            name for name in idle if name in self.named - greedy and getattr(self, name) != getattr(default, name)
        )

    def most_new_tokens(self, prompt: int, room: int, otherwise: int | None = None) -> int:
        """How many new tokens there are at most.

        ``max_new_tokens`` goes before ``max_length``, whoever named them, as in transformers.

        Args:
            prompt: Tokens of the prompt.
            room: New tokens that fit behind it.
            otherwise: Where nobody named a length (transformers: 20); ``None``: all that fit.

        Raises:
            InputError: The caller named a length that does not fit, or a ``max_length`` that the prompt fills.
        """
        field_name = "max_length" if self.max_new_tokens is None else "max_new_tokens"
        wanted = self.max_new_tokens
        if wanted is None and self.max_length is not None:
            wanted = self.max_length - prompt
        if wanted is None:
            return room if otherwise is None else min(otherwise, room)
        if wanted < 1:
            raise InputError(
                "The prompt leaves no room for a new token.",
                got=f"{prompt} tokens, with max_length={self.max_length}"
                + ("" if field_name in self.named else f" in {FILE}"),
                allowed="a prompt that is shorter than max_length",
                do="pass max_new_tokens, which counts new tokens only",
            )
        if field_name in self.named and wanted > room:
            raise InputError(
                f"{field_name} does not fit into the program's context.",
                got=f"{prompt} tokens of the prompt and {wanted} new ones",
                allowed=f"{prompt + room} in all (ctx_len), so {room} new ones",
                do="ask for fewer, shorten the prompt, or compile with a larger ctx_len",
            )
        return min(wanted, room)
