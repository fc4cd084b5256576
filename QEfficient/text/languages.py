"""Which languages a translation is between: what a caller names, checked against what the model's tokenizer knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from QEfficient.errors import UsageError, unknown
from QEfficient.records import Json
from QEfficient.text.sides import SOURCE, TARGET, SourceReader, TextSides

_SETTINGS = {"first": "forced_bos_token_id", "start": "decoder_start_token_id"}
"""Where the target's language is said → the generation parameter that says it."""


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages of one call.

    Attributes:
        chosen: Side → language, of each side that has one to choose.
        settings: Generation parameters that say the target's language.
    """

    chosen: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)


def choose_languages(
    sides: TextSides,
    source: str | None,
    target: str | None,
    repo: Mapping[str, Json],
    texts: Sequence[str],
    reader: SourceReader,
) -> Languages:
    """The languages of one call: those that the caller names, else the model's own.

    Args:
        sides: What the model's tokenizer knows.
        source: The language of the texts.
        target: The language to write.
        repo: What the repo says about how text is written; it may name a target.
        texts: The texts: each of them may begin with its own target, where models are told so.
        reader: Knows such a beginning.

    Raises:
        UsageError: A language is unknown, one that can't be chosen, or one is not named and the model has several.
    """
    chosen: dict[str, str] = {}
    for side, named in ((SOURCE, source), (TARGET, target)):
        own = _own(sides, side, repo)
        if side not in sides.names:
            _check_fixed(side, named, own, sides)
            continue
        language = own if named is None else named
        if language is not None:
            if language not in sides.codes:
                what = f"The model has no {side} language {language!r}."
                raise unknown(UsageError, what, language, sides.codes, argument=side, do="choose one of these")
            chosen[side] = language
        elif not (side == TARGET and sides.coded and texts and all(_begins(reader, sides, text) for text in texts)):
            raise _not_named(side, sides)
    settings = {}
    if sides.place in _SETTINGS and TARGET in chosen:
        settings[_SETTINGS[sides.place]] = sides.codes[chosen[TARGET]]
    return Languages(chosen, settings)


def _begins(reader: SourceReader, sides: TextSides, text: str) -> bool:
    code, _ = reader.split(text)
    if code is not None and code not in sides.codes:
        what = f"The model has no target language {code!r}, which a text begins with."
        raise unknown(UsageError, what, code, sides.codes, do="choose one of these")
    return code is not None


def _own(sides: TextSides, side: str, repo: Mapping[str, Json]) -> str | None:
    """The language that the repo names as the model's own."""
    named = sides.source if side == SOURCE else sides.target
    if side == TARGET and named is None and sides.place in _SETTINGS:
        token = repo.get(_SETTINGS[sides.place])
        named = next((code for code, one in sides.codes.items() if one == token), None)
    return named if side not in sides.names or named in sides.codes else None


def _check_fixed(side: str, named: str | None, own: str | None, sides: TextSides) -> None:
    """A language that is not for the caller to choose may be named as what it is."""
    if named is None or named == own:
        return
    other = f"; {' and '.join(sides.names)} can be chosen" if sides.names else ""
    raise UsageError(
        f"The model has no {side} language to choose.",
        got=f"{side}={named!r}",
        allowed=(f"{own!r}, its own{other}" if own else f"no {side}{other}"),
        do=f"leave {side} out",
    )


def _not_named(side: str, sides: TextSides) -> UsageError:
    codes = list(sides.codes)
    begin = f", or begin each text with >>{codes[0]}<<" if sides.coded else ""
    return UsageError(
        f"The model has several {side} languages, and none was named.",
        got=f"{side}=None",
        allowed=", ".join(map(repr, codes)),
        do=f"pass {side}=, such as {side}={codes[0]!r}{begin}",
    )


# ---------------------------------------------------------------------------------------------- tasks by prefix


@dataclass(frozen=True, slots=True)
class PrefixTask:
    """A task that a text before the source names, as T5 has them (``task_specific_params`` of its config).

    Attributes:
        prefix: The text.
        settings: Generation parameters that the repo has for this task.
    """

    prefix: str = ""
    settings: Mapping[str, Json] = field(default_factory=dict)


SUMMARIZATION = "summarization"
_TRANSLATION = "translation_"


def prefix_tasks(config: Mapping[str, Json], known: Callable[[str], bool]) -> dict[str, PrefixTask]:
    """The tasks of a model's config by their names there.

    Args:
        config: The model's.
        known: Whether a name is that of a generation parameter; others are left out.
    """
    params = config.get("task_specific_params")
    if not isinstance(params, Mapping):
        return {}
    return {
        str(name): PrefixTask(str(said.get("prefix") or ""), {key: one for key, one in said.items() if known(key)})
        for name, said in params.items()
        if isinstance(said, Mapping)
    }


def translation_task(
    tasks: Mapping[str, PrefixTask], source: str | None, target: str | None, texts: Sequence[str]
) -> PrefixTask | None:
    """The task that translates between two languages; ``None`` where the model has no such tasks.

    Nothing is put before texts that begin with the prefix of a task already, all of them.

    Args:
        tasks: The model's.
        source: The language of the texts.
        target: The language to write.
        texts: The texts.

    Raises:
        UsageError: There is no such pair, or several that fit.
    """
    pairs = {
        tuple(name.removeprefix(_TRANSLATION).split("_to_")): task
        for name, task in tasks.items()
        if name.startswith(_TRANSLATION) and name.count("_to_") == 1
    }
    if not pairs:
        return None
    begun = [task.prefix for task in tasks.values() if task.prefix]
    if source is None and target is None and texts and all(text.startswith(tuple(begun)) for text in texts):
        return PrefixTask()
    fitting = [task for (one, other), task in pairs.items() if source in (None, one) and target in (None, other)]
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(
        "The model does not translate between these languages."
        if not fitting
        else "It is not said between which languages to translate.",
        got=f"source={source!r}, target={target!r}",
        allowed=", ".join(f"source={one!r} with target={other!r}" for one, other in pairs),
        do="pass one of these pairs",
    )
