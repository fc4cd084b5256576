"""Every task's roles: what a data set for it holds, under which names of columns it is found, of which kind it is."""

from __future__ import annotations

from dataclasses import dataclass

MASK = "[MASK]"
"""What stands for the missing word in a text of fill-mask; ``"<mask>"`` is read as the same."""

MASKS = (MASK, "<mask>")


@dataclass(frozen=True, slots=True)
class Role:
    """What one column of a data set is for.

    Attributes:
        name: Of the role, and of the column where that is called so.
        kind: What its values are; a name of ``KINDS`` in ``evaluate/data/values.py``.
        aliases: Other names by which people call such a column, in lower case.
        required: Whether a data set must have it, where the task has one form only.
    """

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True, slots=True)
class DataTask:
    """What a data set holds for one task.

    Attributes:
        name: The task's.
        roles: In the order in which rows that are tuples have them.
        forms: Where a task's data comes in several forms: the roles of each, the one to prefer first.
    """

    name: str
    roles: tuple[Role, ...]
    forms: tuple[tuple[str, ...], ...] = ()

    @property
    def needed(self) -> tuple[tuple[str, ...], ...]:
        """The roles that must be there, a form each."""
        return self.forms or (tuple(role.name for role in self.roles if role.required),)

    def role(self, name: str) -> Role:
        """The role of a name that it has."""
        return next(role for role in (*self.roles, CLUSTER) if role.name == name)


CLUSTER = Role("cluster", "cluster", required=False)
"""Every task's last role: rows of one document, user or day, which are not independent of each other."""

_TEXT = (
    *("sentence", "content", "review", "review_body", "review_text", "body", "document", "comment", "tweet", "message"),
    *("utterance", "sentence1", "text1", "sentence_1", "text_1", "sentence_a", "text_a", "premise"),
)
_PAIR = ("text_pair", "sentence2", "text2", "sentence_2", "text_2", "sentence_b", "text_b", "hypothesis")
_LABEL = ("labels", "target", "class", "category", "sentiment", "emotion", "intent")
_SCORE = ("similarity_score", "similarity", "similarity_scores", "sim", "gold", "gold_score")
_NUMBER = ("label", "labels", "target", "rating", "value", "stars", "grade")
_QUERY = ("queries", "question", "anchor", "search_query")
_DOCUMENT = ("passage", "doc", "answer", "text", "context", "response")
_AUDIO = ("speech", "clip", "sound", "input_values")

TASKS: dict[str, DataTask] = {
    task.name: task
    for task in (
        DataTask(
            "similarity",
            (
                Role("text", "text", (*_TEXT, "anchor")),
                Role("pair", "text", _PAIR),
                Role("score", "score", (*_SCORE, "label", "labels")),
            ),
        ),
        DataTask(
            "retrieval",
            (
                Role("query", "text", _QUERY),
                Role("document", "document", (*_DOCUMENT, "positive", "pos")),
                Role("grade", "grade", ("score", "relevance", "label"), required=False),
            ),
        ),
        DataTask(
            "reranking",
            (
                Role("query", "text", _QUERY),
                Role("positives", "documents", ("positive", "pos")),
                Role("negatives", "documents", ("negative", "neg", "hard_negatives", "hard_negative")),
                Role("documents", "documents", ("docs", "passages", "candidates", "texts")),
                Role("grades", "grades", ("labels", "relevance", "relevances", "scores")),
                Role("document", "document", _DOCUMENT),
                Role("grade", "grade", ("label", "score", "relevance")),
            ),
            forms=(
                ("query", "positives", "negatives"),
                ("query", "documents", "grades"),
                ("query", "document", "grade"),
            ),
        ),
        DataTask(
            "text-classification",
            (
                Role("text", "text", _TEXT),
                Role("pair", "text", _PAIR, required=False),
                Role("label", "label", _LABEL),
            ),
        ),
        DataTask(
            "multi-label",
            (
                Role("text", "text", _TEXT),
                Role("pair", "text", _PAIR, required=False),
                Role("labels", "labels", ("label", "tags", "targets", "categories", "classes")),
            ),
        ),
        DataTask(
            "regression",
            (
                Role("text", "text", _TEXT),
                Role("pair", "text", _PAIR, required=False),
                Role("score", "score", (*_SCORE, *_NUMBER)),
            ),
        ),
        DataTask(
            "image-classification",
            (
                Role("image", "image", ("img", "picture", "photo", "pixel_values", "image_path")),
                Role("label", "label", _LABEL),
            ),
        ),
        DataTask(
            "audio-classification",
            (Role("audio", "audio", (*_AUDIO, "audio_path", "file")), Role("label", "label", _LABEL)),
        ),
        DataTask(
            "token-classification",
            (
                Role("tokens", "words", ("words", "text")),
                Role("tags", "tags", ("ner_tags", "labels", "label", "entities")),
            ),
        ),
        DataTask(
            "question-answering",
            (
                Role("question", "text", ("query",)),
                Role("context", "text", ("passage", "paragraph", "document", "text")),
                Role("answers", "answers", ("answer", "answer_text")),
            ),
        ),
        DataTask(
            "fill-mask",
            (
                Role("text", "masked", ("sentence", "masked_text", "prompt", "input")),
                Role("target", "text", ("word", "token", "answer", "label", "masked_word")),
            ),
        ),
        DataTask(
            "multiple-choice",
            (
                Role("prompt", "text", ("question", "premise", "context", "ctx", "sentence", "text")),
                Role("choices", "choices", ("options", "endings", "answers", "alternatives")),
                Role("label", "choice", ("answer", "labels", "target", "answerkey", "answer_key", "correct")),
            ),
        ),
        DataTask(
            "automatic-speech-recognition",
            (
                Role("audio", "audio", (*_AUDIO, "audio_path", "file")),
                Role("text", "transcript", ("sentence", "transcription", "transcript", "normalized_text")),
            ),
        ),
    )
}
"""A task's name → its roles.

What :func:`QEfficient.evaluate.data.read_examples` makes of them, role by role:

- ``text``, ``pair``, ``query``, ``question``, ``context``, ``prompt``, ``target``: strings that are not empty;
- ``score``: finite floats;
- ``label``: whole numbers from 0 on, or names, all of one kind; of multiple-choice always the position of the choice;
- ``labels``: a list of these a row, each once, in ascending order; a row of zeros and ones is read as positions;
- ``tokens``, ``tags``: lists of equal length, of words and of numbers or names;
- ``answers``: a list of strings, empty where the context has none; ``starts``, where SQuAD's ``answer_start`` is given:
  where each begins;
- ``text`` of fill-mask: the mask is ``"[MASK]"`` and stands there once;
- ``choices``: a list of two strings or more;
- ``image``: a PIL image, an array, or a path, see ``rgb_image``; ``audio``: ``{"array": float32 of one dim,
  "sampling_rate": int or None}``, bytes of a file, or a path, see ``load_clip``;
- reranking: ``query``, ``documents`` (a list of strings) and ``grades`` (as many numbers from 0 on), in any form;
- retrieval: ``query`` and ``relevant``, a mapping from a document's position in ``Examples.corpus`` to its grade,
  which is above 0.
"""
