"""``prune_vocabulary`` of every Auto class, and what texts lose by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from QEfficient.auto.insight import Insight

if TYPE_CHECKING:
    from QEfficient.compress.vocabulary.counts import LostTokens


class VocabularyPruning(Insight):
    """Makes the word table smaller."""

    def prune_vocabulary(
        self,
        data: object,
        *,
        eval: object = None,
        keep: Sequence[str] = (),
        min_count: int = 1,
        size: int | None = None,
        max_lost: float | None = None,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        max_drop: Mapping[str, float] | None = None,
        score: Callable[[Any], float] | None = None,
        output_dir: str | Path | None = None,
    ) -> Self:
        """Keeps the tokens that your texts need, and gives a model with these only.

        The word table has fewer rows then, and so has a head over words, as fill-mask has one. Tokens get new ids. A
        text that loses no token has the very same vectors as before, bit for bit; one that loses a token is split into
        smaller pieces in its place, and gets other vectors. It saves bytes on disk and in memory. It gains no speed.

        Special and added tokens always stay, and so do single characters (or bytes, where the tokenizer falls back on
        them), what the config names, and the tokens of the repo's prompts. Of BPE a token stays with all that it is
        merged of.

        What is given is an ordinary folder, ``output_dir/model``, that transformers and sentence-transformers load too:
        keep it. This object and its program stay as they are. :attr:`compressed` and ``device_report()`` tell what was
        done, as :class:`QEfficient.compress.vocabulary.report.VocabularyReport` has it; :meth:`lost_tokens` of the new
        object tells what further texts lose.

        Args:
            data: Texts such as the model will be given: strings, or rows of any kind with a column of texts.
            eval: Held-out texts likewise, on which it is measured what is lost. Left out, that is told of a tenth of
                ``data``, by the tokens of the other nine; the model keeps those of all ten.
            keep: Further texts, words or tokens, whose tokens stay in any case.
            min_count: How often a token stands in ``data`` at least to stay.
            size: The most tokens to keep; left out, all that are frequent enough.
            max_lost: The share of held-out texts that may lose a token, from 0 to 1; more is refused. Left out, more
                than a tenth is warned of.
            task: What rows are for, where they have other columns than texts; rows of ``eval`` are measured by its
                metrics too, before and after.
            columns: Role → name of its column, in ``data`` and ``eval``, where it is none that people use.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            max_drop: How much each metric on ``eval`` may get worse: ``{"accuracy": 0.01}``; ``{"score": …}`` for that
                of ``score``.
            score: In place of the metrics: asked about an object of this class that is not compiled, it gives a number
                of which more is better.
            output_dir: The folder to write to; left out, one below ``QEFF_HOME``.

        Returns:
            Another object of this class, not compiled yet.

        Warns:
            UserWarning: More than a tenth of the held-out texts lose a token, and there is no ``max_lost``.

        Raises:
            CompressionRefusedError: More texts lose a token than ``max_lost`` allows, or a metric gets worse by more
                than ``max_drop`` allows. Nothing is kept.
            InputError: There are no texts, or rows that can't be used.
            OptionError: A number out of range, or a limit for what is not measured.
            UsageError: A tokenizer without a fast form or of another kind than WordPiece, BPE and Unigram; a model
                without one table of words; remote code; a saved program; or a model in memory without its tokenizer.
        """
        from QEfficient.auto.compression.vocabulary import prune_vocabulary
        from QEfficient.auto.compression.vocabulary_rows import VocabularyArgs

        args = VocabularyArgs(
            data, eval, keep, min_count, size, max_lost, task, columns, tokenizer, max_drop, score, output_dir
        )
        return prune_vocabulary(self, args)  # type: ignore[type-var]

    def lost_tokens(self, data: object) -> LostTokens:
        """What texts lose by the pruned vocabulary: which of them have other vectors than before the pruning.

        Args:
            data: Strings, or rows of any kind with a column of texts; each text counts once.

        Returns:
            Places of the texts that lose a token, and the lost tokens; printing it shows the shares.

        Raises:
            InputError: There are no texts.
            UsageError: ``prune_vocabulary`` did not make this model, or its folder is not here.
        """
        from QEfficient.auto.compression.vocabulary import lost_by

        return lost_by(self, data)
