"""All cases of the sweep."""

from __future__ import annotations

from tests.sweep import audio, decoders, seq2seq, text_encoders, vision
from tests.sweep.case import Case

CASES: tuple[Case, ...] = (*text_encoders.CASES, *decoders.CASES, *seq2seq.CASES, *vision.CASES, *audio.CASES)
