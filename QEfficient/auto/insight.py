"""What can be known of a model's numbers and speed: the room ``diagnostics`` as methods.

Each method is a thin call; the room is loaded on use, so that a warm cache and a saved program never pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.auto.encoder_road import EncoderRoad
from QEfficient.build.request import verify_limits
from QEfficient.cache import Cache

if TYPE_CHECKING:
    from QEfficient.analysis.analysis import Analysis
    from QEfficient.analysis.recommendation import Recommendation
    from QEfficient.build.subject import Subject
    from QEfficient.diagnostics.buckets import SuggestedBuckets
    from QEfficient.evaluate.result import Evaluation
    from QEfficient.numerics.diagnosis import Diagnosis
    from QEfficient.numerics.verify import Limits, Verification
    from QEfficient.runtime.benchmark import Benchmark


class Insight(EncoderRoad):
    """Verifies, diagnoses, analyses, recommends and measures."""

    def _subject(self) -> Subject:
        from QEfficient.build.subject import ModelSubject, SavedSubject

        if self._origin is None:
            loaded = self._need_loaded()
            bare = loaded.program.manifest.text is None  # of a graph alone
            return SavedSubject(loaded, None if bare else loaded.limited(self._max_seq_length))
        recipe = self._recipe(False, self._export_verify)
        return ModelSubject(recipe, self._text(recipe), self._loaded)

    def verify(
        self,
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        *,
        emulate: bool = False,
        check: bool = True,
    ) -> Verification:
        """Compares the compiled program with HuggingFace in float32, on built-in texts and random rows.

        ``compile`` checks too; this runs the program itself. A saved program has no HuggingFace
        model behind it: it is compared with its own graph in fp32 on the host.

        Args:
            texts: Further texts to run.
            limits: What must hold in place of the precision's defaults, ``{"min_cosine": 0.999}``; see
                :class:`QEfficient.numerics.verify.Limits`.
            emulate: Run the card's arithmetic (fp16, and what the compiler options say) on the host in place of the
                program. It needs no card.
            check: False returns a result that is past its limits instead of raising.

        Returns:
            What was found; printing it shows a table.

        Raises:
            UsageError: Not compiled, or texts for a program without a tokenizer.
            VerificationError: A limit does not hold; names the worst rows and the layer that it starts in.
        """
        from QEfficient.diagnostics.verify import verify_subject

        self._need_loaded()
        given = arguments.optional_strings("texts", texts)
        return verify_subject(self._subject(), given, limits, emulate=emulate, check=check)

    def doctor(
        self,
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        *,
        margin: float | None = None,
        rewrite: bool = False,
    ) -> Diagnosis:
        """Finds what of the model does not fit the card's fp16, and the smallest cure; it needs no card.

        Every tensor's range is measured on random rows, built-in texts and ``texts``. Where plain fp16 does not meet
        the limits, the smallest set of nodes that has to stay in fp32 is looked for, and shown to do under emulation.
        ``compile(node_precision_info=diagnosis.path)`` hands it to the card's compiler. What is found stays in the
        cache.

        It works before ``compile`` (the model is exported then), after it, and on a saved program.

        Args:
            texts: Further texts, such as the model will be given. Ranges are those of what was run.
            limits: What the cure must hold, against the graph in fp32, in place of the defaults of
                ``QEfficient.numerics.doctor.LIMITS``: ``{"min_cosine": 0.9999}``.
            margin: Share of fp16's largest number, 65504, from which a value counts as near it; 0.5 when left out.
            rewrite: Fold powers of two into neighbouring weights first, where no fp32 number changes; compile the
                graph at ``diagnosis.onnx_path`` then.

        Returns:
            What was found; printing it shows a table.

        Raises:
            NumericsError: The graph in fp32 does not meet the limits.
            UsageError: Texts for a model without a tokenizer, a margin that is none, or a graph with functions.
        """
        from QEfficient.diagnostics.doctor import DoctorArgs, diagnosis

        args = DoctorArgs(arguments.optional_strings("texts", texts), verify_limits(limits), margin, rewrite)
        return diagnosis(self._subject(), args, Cache())

    def analyze(
        self,
        seq_len: int | Iterable[int] | None = None,
        batch_size: int | None = None,
        *,
        texts: Iterable[str] | None = None,
        before: bool = True,
        fp16: bool = True,
        report: str | PathLike[str] | None = None,
    ) -> Analysis:
        """What the model costs and how it fits the cards, before and after transformation.

        It works before ``compile`` (the model is exported then), after it, and on a saved program, of which only the
        graph is left to look at.

        Args:
            seq_len: Tokens of a bucket, or a list of them. Left out: the program's buckets, or those that ``compile``
                would make.
            batch_size: Rows of a bucket; left out, the program's, or 1.
            texts: Texts to fill the buckets with, for the share of padding.
            before: Also count HuggingFace's own module, which reads its weights and runs it once at the shortest
                bucket. False looks at the graph only, and needs no torch.
            fp16: Also run the graph on built-in texts and on the first ones of ``texts``, in fp32 on the host, for the
                range of every tensor and what of it does not fit fp16. Only models that read texts have it.
            report: Where to write the report, one HTML page.

        Returns:
            Records of everything that was found; printing it shows a table.

        Raises:
            UsageError: The graph can't take a shape, or texts for a model without a tokenizer.
            OptionError: ``seq_len`` or ``batch_size`` is no positive int, or ``report`` no path of a file.
        """
        from QEfficient.diagnostics.recommend import require_analysis

        require_analysis("analyze()")
        from QEfficient.diagnostics.analyze import AnalyzeArgs, analyze_model
        from QEfficient.report import report_path, write_report

        target = None if report is None else report_path(report)
        found = analyze_model(self._subject(), AnalyzeArgs(seq_len, batch_size, texts, before, fp16))
        if target is not None:
            write_report(found, target)
        return found

    def recommend(
        self, objective: str = "throughput", seq_len: int | None = None, card: str = "standard"
    ) -> Recommendation:
        """Which options to compile and run with on a card, and the speed to expect; predicted, not measured.

        Args:
            objective: ``"throughput"``, ``"latency"`` or ``"balanced"``, see
                :func:`QEfficient.analysis.recommendation.recommend`.
            seq_len: Tokens of a text; left out, the longest bucket of the program or of ``compile``'s defaults.
            card: ``"standard"``, ``"pro"`` or ``"ultra"`` (one of its four SoCs). The last two are extrapolated.

        Returns:
            Cores, instances, batch, ``ols``, ``mos``, set size and the flag for shared weights, with the prediction.

        Raises:
            UsageError: An unknown objective or card, or a model whose config names no sizes of a text encoder.
        """
        from QEfficient.diagnostics.recommend import recommended

        return recommended(self._subject(), objective, seq_len, card)

    def suggest_buckets(
        self,
        texts: Iterable[str],
        buckets: int | None = None,
        *,
        batch_size: int | None = None,
        num_cores: int | None = None,
        backend: str | None = None,
    ) -> SuggestedBuckets:
        """The buckets in which texts cost least, as ``compile(seq_len="auto", texts=texts)`` takes them.

        ``compile(**model.suggest_buckets(texts).compile_options)`` makes the same program, so that the buckets can be
        looked at, changed and kept before.

        Args:
            texts: Texts like those that will come: some hundreds show their lengths well.
            buckets: The most buckets, 5 when left out.
            batch_size: Rows of every bucket; left out, of each those that cost least.
            num_cores: As ``compile`` takes it: on a card, what a run costs depends on it.
            backend: Likewise.

        Returns:
            Lengths and rows, and which of the texts ``compile`` also verifies on.

        Raises:
            UsageError: A saved program, or a model without a tokenizer.
            OptionError: No texts, or a number out of range.
        """
        from QEfficient.build.subject import ModelSubject
        from QEfficient.diagnostics.buckets import suggested

        subject = ModelSubject(self._recipe(False, "on"), self._text())
        return suggested(subject, texts, buckets, batch_size, num_cores, backend)

    def evaluate(
        self,
        data: object,
        task: str | None = None,
        metrics: str | Sequence[str] | None = None,
        *,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        seed: int = 0,
        resamples: int = 1000,
        runtime_ai100: bool = True,
    ) -> Evaluation:
        """How good the model's answers are on data of yours: each figure with its 95 % interval.

        Before ``compile`` HuggingFace's own model answers, after it the program; ``ran`` says which.
        :func:`QEfficient.evaluate.compare` puts several models beside each other.

        Args:
            data: Rows: a path (JSONL, JSON, CSV, TSV, parquet), a ``datasets.Dataset``, a DataFrame of pandas or
                polars, a list of mappings or tuples, or a mapping of columns. For retrieval
                ``{"queries": …, "corpus": …, "relevant": …}``.
            task: What is asked: ``"similarity"``, ``"retrieval"``, ``"reranking"``, ``"text-classification"``,
                ``"multi-label"``, ``"regression"``, or what the class is for. Left out, what columns and class say.
            metrics: Names such as ``"accuracy"`` or ``"ndcg@10"``; left out, those of the task.
            columns: Role → column, where the columns are called otherwise than people call them:
                ``{"text": "review", "label": "stars"}``. ``{"cluster": "document"}`` names rows that belong together.
            seed: Of the bootstrap.
            resamples: Of the bootstrap.
            runtime_ai100: False asks HuggingFace's own model, although there is a program.

        Returns:
            Figures, and every row's answer; printing it shows a table.

        Raises:
            InputError: Rows that can't be evaluated; the message names them.
            UsageError: A task that this model does not answer, an unknown metric, or the torch model of a saved
                program.
            OptionError: A number out of range.
            MissingExtraError: ``pip install "QEfficient[evaluate]"``.
        """
        from QEfficient.evaluate.answers.runner import SubjectRunner
        from QEfficient.evaluate.evaluation import evaluate_model

        runner = SubjectRunner(self._subject(), torch=not runtime_ai100)
        return evaluate_model(runner, data, task, metrics, columns, seed=seed, resamples=resamples)

    def benchmark(
        self,
        texts: Iterable[str] | None = None,
        batch: int | None = None,
        *,
        seconds: float = 5.0,
        rounds: int | None = None,
        device_ids: Sequence[int] | None = None,
    ) -> Benchmark:
        """Measures how fast the compiled program answers here, from strings to results, and where the time goes.

        The program is warmed up first, which is timed apart. Then the texts are run over and over, ``batch`` at a time:
        ``batch=1`` is the latency of one text, left out it is the throughput of one call with all of them.
        :class:`QEFFAutoModel` encodes them; the other classes tokenise and run them. A program that takes no texts is
        given random rows of every compiled length.

        Args:
            texts: What to run; left out, the built-in texts that fit the compiled lengths.
            batch: Texts, or random rows, of one call; all of them when left out.
            seconds: No further call is started after so many.
            rounds: How often all texts are run at most.
            device_ids: Devices of the card.

        Returns:
            Latency of a call (p50, p95, p99), texts and tokens a second, padding, and the time of each stage: tokenise,
            plan, run, gather. Printing it shows a table; ``to_json()`` has every call.

        Raises:
            UsageError: Not compiled, or texts for a program that takes none.
            OptionError: A number that is none, or out of range.
        """
        from QEfficient.diagnostics.benchmark import BenchmarkArgs, benchmark

        loaded = self._need_loaded()
        args = BenchmarkArgs.of(texts, batch, seconds, rounds, device_ids, self._max_seq_length)
        warmup = partial(loaded.warmup, calibrate=True, devices=device_ids)
        return benchmark(loaded, self._string_call(device_ids), warmup, args)

    def _string_call(self, device_ids: Sequence[int] | None) -> Callable[[Sequence[str]], object] | None:
        """What :meth:`benchmark` does with strings where the class has a method for them; ``None``: run their ids."""
        return None
