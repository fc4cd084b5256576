"""Every task that the library serves, once."""

from __future__ import annotations

from QEfficient.tasks.choices import Choices
from QEfficient.tasks.task import Task
from QEfficient.tasks.text2text_generation import Text2Text
from QEfficient.tasks.text_generation import TextGeneration
from QEfficient.tasks.token_scores import TokenScores
from QEfficient.tasks.vectors import Embedding

FEATURE_EXTRACTION = Embedding("feature-extraction", "AutoModel", ("output",), "BaseModelOutputWithPooling")
TEXT_CLASSIFICATION = Task("text-classification", "AutoModelForSequenceClassification")
TOKEN_CLASSIFICATION = TokenScores(
    "token-classification", "AutoModelForTokenClassification", model_output="TokenClassifierOutput"
)
QUESTION_ANSWERING = TokenScores(
    "question-answering",
    "AutoModelForQuestionAnswering",
    ("start_logits", "end_logits"),
    "QuestionAnsweringModelOutput",
)
FILL_MASK = TokenScores("fill-mask", "AutoModelForMaskedLM", model_output="MaskedLMOutput")
MULTIPLE_CHOICE = Choices("multiple-choice", "AutoModelForMultipleChoice", model_output="MultipleChoiceModelOutput")
IMAGE_CLASSIFICATION = Task(
    "image-classification", "AutoModelForImageClassification", model_output="ImageClassifierOutput"
)
AUDIO_CLASSIFICATION = Task("audio-classification", "AutoModelForAudioClassification")
SPEECH_RECOGNITION = TokenScores("automatic-speech-recognition", "AutoModelForCTC", model_output="CausalLMOutput")
TEXT_GENERATION = TextGeneration("text-generation", "AutoModelForCausalLM", model_output="CausalLMOutputWithPast")
TEXT2TEXT_GENERATION = Text2Text("text2text-generation", "AutoModelForSeq2SeqLM", model_output="Seq2SeqLMOutput")

TASKS = {value.name: value for value in list(globals().values()) if isinstance(value, Task)}
"""A task's name → the task."""
