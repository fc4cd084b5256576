"""Clips with transcripts → what a model for speech recognition is trained on, and its loss: CTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError
from QEfficient.train.labelled import IGNORED
from QEfficient.train.signal_rows import ClipReader, SignalRows, frames_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from QEfficient.train.labelled import Feature


@dataclass(frozen=True, slots=True)
class SpeechProcessor:
    """What reads clips and transcripts, with the attributes of transformers' ``Wav2Vec2Processor``.

    Attributes:
        feature_extractor: HuggingFace's, of clips.
        tokenizer: HuggingFace's, of letters.
    """

    feature_extractor: Any
    tokenizer: Any

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes both into a folder."""
        self.feature_extractor.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))


@dataclass(frozen=True, slots=True)
class SpeechReader:
    """What reads clips and transcripts for a model.

    Attributes:
        module: The model.
        processor: A :class:`SpeechProcessor`, or one of transformers' with the same attributes.
    """

    module: nn.Module
    processor: Any

    @property
    def clips(self) -> ClipReader:
        """What reads the clips alone."""
        return ClipReader(self.module, self.processor.feature_extractor)

    def rows(self, columns: Mapping[str, Sequence[Any]], where: str) -> SignalRows:
        """The clips, each labelled with how many frames the model makes of it, and the ids of its letters.

        Args:
            columns: With the roles ``audio`` and ``text``.
            where: What an error calls the rows.

        Raises:
            InputError: A transcript has a letter that the vocabulary has not, or more letters than its clip has frames;
                or the clips do not fit. It names the row.
        """
        self._check_blank()
        letters = [self._letters(text, row, where) for row, text in enumerate(columns["text"])]
        found = self.clips.rows(columns, letters, where)
        labels = []
        for row, (ids, length) in enumerate(zip(letters, found.lengths, strict=True)):
            frames = frames_of(self.module, length)
            if frames is None:
                raise InputError(
                    "The model does not say how many frames it makes of a clip.",
                    got=type(self.module).__name__,
                    allowed="a model of transformers such as Wav2Vec2ForCTC",
                    do="train such a model",
                )
            needed = len(ids) + sum(one == before for before, one in zip(ids, ids[1:], strict=False))
            if frames < needed:
                raise InputError(
                    f"A clip of the {where} rows is too short for its transcript.",
                    got=f"{frames} frames in row {row}, whose transcript needs {needed}",
                    allowed="a frame a letter at least, and one between two equal letters",
                    do="drop such rows, or check which transcript belongs to which clip",
                )
            labels.append([frames, *ids])
        return SignalRows(lambda row: found[row], labels, found.lengths)

    def _check_blank(self) -> None:
        config: Any = self.module.config
        blank = self.processor.tokenizer.pad_token_id
        if blank is None or blank != config.pad_token_id:
            raise InputError(
                "The tokenizer has another blank than the model.",
                got=f"{blank}, and {config.pad_token_id} in the model's config",
                allowed="the same pad_token_id",
                do="load the model with from_pretrained(…, vocab_size=…, pad_token_id=…) as its tokenizer has them",
            )

    def _letters(self, text: str, row: int, where: str) -> list[int]:
        tokenizer, config = self.processor.tokenizer, self.module.config
        ids: list[int] = tokenizer(text).input_ids
        limit = int(getattr(config, "vocab_size", 0))
        odd = (tokenizer.unk_token_id, tokenizer.pad_token_id)  # the second is the blank, which is no letter
        unknown = [place for place, one in enumerate(ids) if one in odd or one >= limit]
        if unknown:
            letters = sorted({tokenizer.tokenize(text)[place] for place in unknown})
            known = sorted(letter for letter, one in tokenizer.get_vocab().items() if len(letter) == 1 and one < limit)
            raise InputError(
                f"A transcript of the {where} rows has letters that the vocabulary has not.",
                got=f"{', '.join(map(repr, letters))} in row {row}",
                allowed=f"spaces and {' '.join(known[:60])}",
                do="write the transcripts in these, such as text.upper(), and leave out the punctuation",
            )
        return ids

    def collate(self, features: Sequence[Feature]) -> Feature:
        """A batch of clips; a row of labels is the number of its frames, its letters, and :data:`IGNORED`."""
        import torch

        rows = [one["labels"] for one in features]
        width = max(map(len, rows))
        batch = self.clips.collate([{**one, "labels": 0} for one in features])
        return batch | {"labels": torch.tensor([row + [IGNORED] * (width - len(row)) for row in rows])}


def ctc_sum(blank: int) -> Callable[[Any, Tensor], Tensor]:
    """The loss of connectionist temporal classification (Graves et al., 2006), summed over a batch's rows.

    A row's is the negative logarithm of its transcript's probability, divided by the number of its letters, as torch's
    ``ctc_loss`` with ``reduction="mean"`` has it.

    Args:
        blank: The id of no letter.

    Returns:
        ``(outputs, labels) -> loss``, with labels as :meth:`SpeechReader.collate` makes them.
    """
    import torch
    from torch.nn import functional

    def total(outputs: Any, labels: Tensor) -> Tensor:
        scores = outputs.logits.float().log_softmax(-1).transpose(0, 1)
        frames, letters = labels[:, 0], labels[:, 1:]
        held = letters.ne(IGNORED)
        counts = held.sum(-1)
        with torch.backends.cudnn.flags(enabled=False):  # its CTC is not the same from run to run
            each = functional.ctc_loss(scores, letters[held], frames, counts, blank=blank, reduction="none")
        return (each / counts.clamp(min=1)).sum()

    return total
