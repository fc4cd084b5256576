"""The keywords of one call, read and checked, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from QEfficient.errors import InputError, UsageError
from QEfficient.generation.callers_objects import allowed_tokens, callables, criterion, processor
from QEfficient.generation.grammar import GrammarKind, GrammarVocabulary
from QEfficient.generation.prompt_lookup import PromptLookup
from QEfficient.generation.refused import refuse
from QEfficient.generation.requests import Request
from QEfficient.generation.settings import FILE, GenerationSettings
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import Hooks, strategies
from QEfficient.generation.tokenizing import GenerationTokenizer
from QEfficient.records import DecoderFacts

GRAMMARS: Mapping[str, GrammarKind] = {"json_schema": "json_schema", "regex": "regex", "grammar": "lark"}
"""Keyword → what llguidance calls such a grammar."""

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class Call:
    """How one call wants tokens to be chosen.

    Attributes:
        settings: All parameters.
        processors, criteria: The caller's own.
        allowed: The caller's ``prefix_allowed_tokens_fn``.
        tokenizer: Finds stop strings in text; ``None`` where none is at hand.
        grammar: Its kind and itself, which answers follow.
        compact: Whether JSON of a schema has no blanks between its parts.
    """

    settings: GenerationSettings
    processors: tuple[Callable[..., Any], ...] = ()
    criteria: tuple[Callable[..., Any], ...] = ()
    allowed: Callable[..., Any] | None = None
    tokenizer: GenerationTokenizer | None = field(default=None, repr=False)
    grammar: tuple[GrammarKind, Any] | None = None
    compact: bool = False

    def requests(
        self,
        prompts: Sequence[Sequence[int]],
        facts: DecoderFacts,
        vocabulary: int,
        *,
        otherwise: int | None = None,
        width: int | None = None,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> list[tuple[Request, ...]]:
        """For each prompt its requests: one, or one a sequence that is drawn.

        Args:
            prompts: Tokens, without padding.
            facts: What the program is compiled for.
            vocabulary: Tokens that the logits are of.
            otherwise: New tokens where neither caller nor repo names a length; ``None``: as many as fit.
            width: Tokens that ``max_length`` counts as the prompt's, padding with them, as transformers does; ``None``:
                each prompt's own.
            sources: Of a program with an encoder, what it reads for each prompt, without padding.

        Raises:
            InputError: A prompt, a length that the caller named, or the number of beams does not fit.
            OptionError: The settings do not fit the vocabulary.
            UsageError: Tokens are to be drafted, and the program was not compiled for it.
        """
        self._check_beams(facts)
        grammars = None
        if self.grammar is not None and self.tokenizer is not None:
            grammars = GrammarVocabulary(self.tokenizer.fast, vocabulary, self.settings.eos_token_id)
        drafted = self._drafted(facts)
        found = []
        for row, prompt in enumerate(prompts):
            ids, source = tuple(prompt), None if sources is None else tuple(sources[row])
            room = facts.room - len(ids)
            most = 1 if room < 1 else self.settings.most_new_tokens(width or len(ids), room, otherwise)
            made = strategies(self.settings, ids, most, vocabulary, self._hooks(row, ids, grammars), source)
            given = [(one, self._drafter(drafted)) for one in made]
            found.append(tuple(Request(ids, one, most, drafter=drafter, source=source or ()) for one, drafter in given))
        for requests in found:
            for request in requests:
                request.check(facts)
        return found

    def _check_beams(self, facts: DecoderFacts) -> None:
        """Refuses more beams than slots; many repos of translators ask for four without the caller's knowledge.

        Raises:
            InputError: Says who asks for them, and what to compile.
        """
        beams, slots = self.settings.num_beams, facts.cache_slots
        if beams > slots:
            keyword = "kv_cache_batch_size" if facts.continuous else "batch_size"
            who = "" if "num_beams" in self.settings.named else f" of {FILE}"
            raise InputError(
                "The program has fewer slots than there are beams, and each beam needs one.",
                got=f"num_beams={beams}{who}, and a program with {keyword}={slots}",
                allowed=f"num_beams from 1 to {slots}",
                do=f"compile with {keyword}={beams}, or pass num_beams={slots}",
            )

    def _drafted(self, facts: DecoderFacts) -> int:
        """Tokens that are drafted at once, at most.

        Raises:
            UsageError: The call asks for some, and the program takes none.
        """
        asked, most = self.settings.prompt_lookup_num_tokens, facts.kept_logits - 1
        if asked and not most:
            raise UsageError(
                "The program gives the logits of one token a step, so none can be drafted ahead.",
                got=f"prompt_lookup_num_tokens={asked}",
                allowed="0, or None",
                do=f"compile with num_speculative_tokens={asked}",
            )
        if self.settings.num_beams > 1:
            return 0
        return min(most, facts.speculated if asked is None else asked)

    def _drafter(self, most: int) -> PromptLookup | None:
        return PromptLookup(most, self.settings.max_matching_ngram_size) if most else None

    def _hooks(self, row: int, prompt: tuple[int, ...], grammars: GrammarVocabulary | None) -> Hooks:
        stops = [criterion(one, prompt) for one in self.criteria]
        if self.settings.stop_strings and self.tokenizer is not None:
            stops.append(self.tokenizer.stop(self.settings.stop_strings, prompt))
        extra = [processor(one) for one in self.processors]
        if grammars is not None and self.grammar is not None:
            kind, source = self.grammar
            extra.append(grammars.mask(kind, source, prompt=len(prompt), compact=self.compact))
        return Hooks(tuple(extra), allowed_tokens(self.allowed, row), tuple(stops))


def read_call(
    keywords: Mapping[str, Any],
    repo: Mapping[str, Any],
    tokenizer: GenerationTokenizer | None,
    ends: Sequence[int] = (),
) -> Call:
    """Reads the keywords that say how tokens are chosen.

    Args:
        keywords: The caller's; none may be left that this does not know.
        repo: What the repo says, as :func:`repo_settings` gives it.
        tokenizer: Finds stop strings.
        ends: End tokens beside the repo's, where the caller names none.

    Raises:
        UsageError: A keyword is unknown, is refused, or its value does not fit.
    """
    left = dict(keywords)
    refuse(left)
    length = left.pop("generation_len", None)
    if length is not None:
        if left.get("max_new_tokens") is not None:
            raise UsageError(
                "generation_len and max_new_tokens are two names for one number.",
                got=f"generation_len={length!r}, max_new_tokens={left['max_new_tokens']!r}",
                allowed="one of them",
                do="drop one of them",
            )
        left["max_new_tokens"] = length
    config = left.pop("generation_config", None)
    processors = callables("logits_processor", left.pop("logits_processor", None))
    criteria = callables("stopping_criteria", left.pop("stopping_criteria", None))
    allowed = callables("prefix_allowed_tokens_fn", left.pop("prefix_allowed_tokens_fn", None))
    if ends and left.get("eos_token_id") is None and getattr(config, "eos_token_id", None) is None:
        of_repo = repo.get("eos_token_id")
        more = [] if of_repo is None else list(of_repo) if isinstance(of_repo, (list, tuple)) else [of_repo]
        repo = {**repo, "eos_token_id": [*more, *ends]}
    grammar, compact = _grammar(left, tokenizer), _compact(left)
    settings = parse_settings(repo, left, config)
    return Call(settings, processors, criteria, allowed[0] if allowed else None, tokenizer, grammar, compact)


def _compact(left: dict[str, Any]) -> bool:
    """Takes ``json_compact`` out of the keywords."""
    value = left.pop("json_compact", False)
    if not isinstance(value, bool):
        raise UsageError(
            "json_compact is no bool.", got=f"json_compact={value!r}", allowed="True or False", do="pass one of these"
        )
    return value


def _grammar(left: dict[str, Any], tokenizer: GenerationTokenizer | None) -> tuple[GrammarKind, Any] | None:
    """Takes ``json_schema``, ``regex`` and ``grammar`` out of the keywords: one at most."""
    if left.get("json_compact") and left.get("json_schema") is None:
        raise UsageError(
            "json_compact is about JSON of a schema, and there is none.",
            got="json_compact without json_schema",
            allowed="json_compact together with json_schema",
            do="drop it, or pass json_schema",
        )
    taken = {name: left.pop(name, None) for name in GRAMMARS}
    given = [name for name, value in taken.items() if value is not None]
    if len(given) > 1:
        raise UsageError(
            "An answer follows one grammar.",
            got=" and ".join(given),
            allowed="one of json_schema, regex and grammar",
            do="drop all but one",
        )
    if given and tokenizer is None:
        raise UsageError(
            "A grammar is of text, and there is no tokenizer to make it.",
            got=given[0],
            allowed="a grammar together with a tokenizer",
            do="pass tokenizer=",
        )
    return (GRAMMARS[given[0]], taken[given[0]]) if given else None


def repo_settings(generation_config: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What a repo says: its ``generation_config.json``; tokens that it leaves out, as the model's config has them.

    So transformers makes a generation config of a model without one (``GenerationConfig.from_model_config``).
    """
    found = {name: config[name] for name in _TOKENS if config.get(name) is not None}
    return {**found, **{name: value for name, value in generation_config.items() if value is not None}}
