"""``benchmark``: what is run, and how, for every kind of program."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from QEfficient import arguments, hub
from QEfficient.backends.host import usable_cpus
from QEfficient.errors import OptionError, UsageError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.inference.prompts import all_prompts, find_prompt
from QEfficient.records import Rows, TensorSpec
from QEfficient.runtime import spans
from QEfficient.runtime.benchmark import Benchmark, measure
from QEfficient.runtime.beside import of_tokens, stand_in

ROWS = 32  # random ones, where there are no texts to run
VOCABULARY = 256  # ids for a model whose config does not say how many it has
_TOKENS = ("input_ids", "attention_mask", "token_type_ids")

Call = Callable[[Sequence[Any]], object]


@dataclass(frozen=True, slots=True)
class BenchmarkArgs:
    """The keywords of one ``benchmark`` call; the method's docstring explains them."""

    texts: Sequence[str]
    batch: int | None
    seconds: float
    rounds: int | None
    device_ids: Sequence[int] | None
    max_seq_length: int | None = None

    @classmethod
    def of(
        cls,
        texts: object,
        batch: object,
        seconds: Any,
        rounds: object,
        devices: Sequence[int] | None,
        max_seq_length: int | None = None,
    ) -> BenchmarkArgs:
        """Checked.

        Raises:
            OptionError: A number that is none, or out of range.
            UsageError: ``texts`` is no sequence of strings.
        """
        if not arguments.is_number(seconds) or not seconds > 0:
            raise OptionError(
                "seconds is not a length of time.",
                got=f"seconds={seconds!r}",
                allowed="a number above 0",
                do="pass the seconds after which no further call is started",
            )
        rows = None if batch is None else arguments.positive("batch", batch, "rows")
        most = None if rounds is None else arguments.positive("rounds", rounds, "rounds")
        return cls(arguments.optional_strings("texts", texts), rows, float(seconds), most, devices, max_seq_length)


def benchmark(
    loaded: LoadedProgram, strings: Call | None, warmup: Callable[[], object], args: BenchmarkArgs
) -> Benchmark:
    """Measures a compiled program.

    Args:
        loaded: The program.
        strings: What its class does with texts; ``None``: tokenise and run.
        warmup: Warms the program up.
        args: What the caller asked for.

    Raises:
        UsageError: Texts for a program that takes none.
    """
    start = time.perf_counter()
    warmup()
    call, items, words = _work(loaded, strings, args)
    batch = min(args.batch or len(items), len(items))
    call(items[:batch])
    warm = time.perf_counter() - start
    found = measure(call, items, batch, seconds=args.seconds, rounds=args.rounds)
    manifest = loaded.program.manifest
    return Benchmark(
        name=_name(loaded),
        backend=loaded.backend.name,
        compute=manifest.target.compute,
        cpus=usable_cpus(),
        inputs=words,
        batch=batch,
        latencies=found.latencies,
        seconds=found.seconds,
        warmup=warm,
        rows=found.rows,
        work=found.spans.work,
        stages=found.stages,
        session=loaded.report()["session"] or {},
    )


def _work(loaded: LoadedProgram, strings: Call | None, args: BenchmarkArgs) -> tuple[Call, Sequence[Any], str]:
    """What is called, with what, and what that is in words."""
    takes = _takes_texts(loaded)
    texts = list(args.texts) or (_built_in(loaded) if takes else [])
    if takes and texts:
        words = f"{len(texts)} texts" if args.texts else f"{len(texts)} built-in texts"
        return strings or _tokenise_and_run(loaded, args), texts, words
    if texts:
        raise UsageError(
            "The program takes no texts, or has no tokenizer.",
            got=f"{len(args.texts)} texts for {_name(loaded)}",
            allowed="texts=None: random rows are run then",
            do="load the model by name, from a repo whose tokenizer has a fast form",
        )
    rows = random_rows(loaded)
    return lambda part: loaded.run(_chosen(rows, part), args.device_ids), range(len(rows)), f"{len(rows)} random rows"


def _name(loaded: LoadedProgram) -> str:
    facts = loaded.program.manifest.model
    return facts.name if facts else loaded.program.path.name


def _takes_texts(loaded: LoadedProgram) -> bool:
    manifest = loaded.program.manifest
    text = manifest.text is not None and manifest.text.tokenizer is not None
    known = {*_TOKENS, "pooling_mask", *manifest.rules.defaults}
    return text and all(spec.name in known and "seq_len" in spec.shape for spec in manifest.inputs)


def _built_in(loaded: LoadedProgram) -> list[str]:
    """Those of the built-in texts that fit the compiled lengths, with the prompt that ``encode`` puts before them."""
    from QEfficient.numerics.sentences import SENTENCES

    facts, manifest = loaded.text, loaded.program.manifest
    if loaded.strict and not manifest.rules.pads:
        return []  # a row must fill a bucket exactly
    prompt = find_prompt(all_prompts(facts), facts.default_prompt, None, None)
    lengths = loaded.tokenizer.encode(SENTENCES, prompt=prompt).rows.lengths
    fits = zip(SENTENCES, lengths, strict=True)
    return [text for text, length in fits if length <= manifest.shapes[-1].length]


def _tokenise_and_run(loaded: LoadedProgram, args: BenchmarkArgs) -> Call:
    """For a class that takes ids: what its caller would write around ``generate``."""
    manifest = loaded.program.manifest
    limit = loaded.limited(args.max_seq_length).max_length
    longest = min(limit, manifest.shapes[-1].length)

    def call(texts: Sequence[str]) -> object:
        with spans.span("tokenise"):
            tokens = loaded.tokenizer.encode(texts, max_length=longest).rows
            rows = of_tokens(tokens, manifest.inputs, manifest.rules)
        return loaded.run(rows, args.device_ids)

    return call


def random_rows(loaded: LoadedProgram, seed: int = 0) -> Rows:
    """Rows of every compiled length in turn, so that each bucket is run, whatever stands in them."""
    manifest = loaded.program.manifest
    config = hub.read_config(loaded.program.path) if manifest.model and manifest.model.config else {}
    text = config.get("text_config") or config
    vocabulary = int(manifest.tables.get("input_ids") or text.get("vocab_size") or VOCABULARY)
    rng = np.random.default_rng(seed)
    lengths = tuple(manifest.shapes[i % len(manifest.shapes)].length for i in range(ROWS))
    columns = {spec.name: [_row(spec, length, vocabulary, rng) for length in lengths] for spec in manifest.inputs}
    return Rows(columns, max(lengths), lengths)


def _row(spec: TensorSpec, length: int, vocabulary: int, rng: np.random.Generator) -> Any:
    shape = [length if isinstance(dim, str) else dim for dim in spec.shape[1:]]
    if spec.name == "input_ids":
        return rng.integers(0, vocabulary, shape).astype(spec.dtype)
    if spec.dtype.startswith("int"):
        return stand_in(spec, shape)
    return rng.standard_normal(shape).astype(spec.dtype)


def _chosen(rows: Rows, part: Sequence[int]) -> Rows:
    columns = {name: [column[row] for row in part] for name, column in rows.columns.items()}
    lengths = tuple(rows.lengths[row] for row in part)
    return Rows(columns, max(lengths), lengths)
