"""``QEFFAutoModel``: encoders, pooled or per token, and strings → vectors as sentence-transformers gives them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from QEfficient import arguments
from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.inference import prompts, similarity
from QEfficient.inference.encode import EncodeArgs, TextEncoder
from QEfficient.inference.quantization import Precision
from QEfficient.records import Json
from QEfficient.runtime.stream import WINDOW
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.head import PoolingArgument, check_saved_pooling, parse_head
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION

if TYPE_CHECKING:
    from torch import nn


class QEFFAutoModel(QEFFTransformersBase):
    """An encoder on the card or the host.

    >>> model = QEFFAutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2", pooling="mean")
    >>> path = model.compile(num_cores=16)
    >>> model.encode(["My name is", "Hello"]).shape
    (2, 384)

    Args:
        model: A HuggingFace model that is already loaded.
        pooling: ``None`` (token embeddings), ``"mean"``, ``"avg"``, ``"max"``, ``"cls"``, ``"last_token"``,
            ``"weighted_mean"``, ``"mean_sqrt_len"``, ``"pooler_output"`` (HuggingFace's own pooled output), or a
            callable ``(last_hidden_states, attention_mask)``.
    """

    _task = FEATURE_EXTRACTION

    def __init__(self, model: nn.Module, pooling: PoolingArgument = None) -> None:
        super().__init__(model)
        self._head = parse_head(pooling)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, pooling: PoolingArgument = None, *args: Any, **kwargs: Any
    ) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            pooling: As in the constructor; ``"auto"`` follows the repo's ``modules.json``.
            *args: As ``transformers.AutoModel.from_pretrained`` takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …), and ``route``: of a sentence-transformers repo with a Router, the route that
                this object follows; left out, the one of ``encode``. A saved program takes ``backend`` (run its graph
                there), ``strict`` (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes are
                always compared) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            PoolingError: An unknown pooling, or one that differs from a saved program's.
        """
        self = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if self._origin is None:
            facts = self._need_loaded().program.manifest.model
            check_saved_pooling(pooling, facts.head if facts else (), str(pretrained_model_name_or_path))
        else:
            self._head = parse_head(pooling, self._origin.repo if pooling == "auto" else None)
            if isinstance(self._origin, Checkpoint):
                self._origin.needs_pooler = self._head.uses_pooler
        return self

    # ------------------------------------------------------------------------------------ train

    def distill(
        self,
        student: object = None,
        *,
        layers: int | Sequence[int] | None = None,
        data: object,
        eval: object = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        student_tokenizer: Any = None,
        score: Callable[[Any], float] | None = None,
        **keywords: Any,
    ) -> Self:
        """Trains a smaller model to give this one's vectors, and gives it.

        The loss is 1 - cosine of the two vectors, their squared distance, and how much the similarities of the texts
        of a batch differ. Where the student's vectors are of another width, a linear layer brings them to this model's:
        vectors of both can be compared, and stand in one index.

        The student is written as an ordinary repo into ``output_dir/model``, from where the new object reads it: keep
        the folder. This object and its program stay as they are.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            student: A smaller model to train, of the same kind: an object of this class, a module of transformers, a
                hub id or a folder. A copy is trained. Its vectors may have another width.
            layers: In place of it: how many of this model's layers the student begins with, evenly spread with the
                last among them, or which ones, counted from 0.
            data: Texts: strings, or rows of any kind with a column of them.
            eval: Held-out texts likewise, on which the loss is measured before and after; so are
                the metrics of ``evaluate`` where ``read_examples`` has read them for a task.
            columns: Role (``"text"``, ``"pair"``) → name of its column, where it is none that people use.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            student_tokenizer: Of a student that is a module; left out, it reads as this model does.
            score: Asked about the ``SentenceTransformer`` before and after, in place of those metrics.
            **keywords: How to distill, as :class:`QEfficient.train.distill_request.DistillRequest` lists them:
                ``weights``, ``epochs``, ``batch_size``, ``learning_rate``, ``seed``, ``early_stopping``,
                ``output_dir``, ``resume``, ….

        Returns:
            The student, not compiled yet.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: There are no texts, or the student does not fit. Nothing was trained.
            OptionError: A keyword is unknown or out of range, or there are no such layers.
            UsageError: Both ``student`` and ``layers`` or neither, layers that can't be cut, a saved program, or a
                model in memory without its tokenizer.
        """
        from QEfficient.auto.distilling import Lesson, distill

        lesson = Lesson(student, layers, data, eval, None, columns, tokenizer, student_tokenizer, score)
        return distill(self, lesson, keywords)

    # ------------------------------------------------------------------------------------ strings → vectors

    def encode(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        task: str | None = None,
        overlong: Literal["error", "truncate", "chunk"] = "truncate",
        device_ids: Sequence[int] | None = None,
        sentences: str | Iterable[str] | None = None,
        ranges: Any = None,
    ) -> Any:
        """Strings → vectors, with the keywords and results of ``SentenceTransformer.encode``.

        Args:
            inputs: One string or many: a list, an array, a column of a table, a generator. Position counts, whatever
                labels a container carries; sets, mappings and whole tables are refused.
            prompt_name: Name of a prompt of the repo to put before each string.
            prompt: A prompt to put before each string; goes before ``prompt_name``.
            batch_size: Accepted for sentence-transformers' callers; the planner packs rows by length instead.
            show_progress_bar: ``None`` shows one on long work in a terminal or notebook.
            output_value: ``"token_embeddings"`` gives a list of ``(tokens, dim)`` arrays, from a program that was
                compiled with ``pooling=None``.
            precision: ``"int8"`` and ``"uint8"`` give a byte a dimension, ``"binary"`` and ``"ubinary"`` a bit, eight
                of them in a byte, of what ``truncate_dim`` and ``normalize_embeddings`` left. These are codes, whose
                product is no similarity: :class:`QEfficient.QuantizedEmbeddings` searches them.
            convert_to_numpy: False gives a list of tensors.
            convert_to_tensor: One torch tensor instead of an array.
            device: Accepted when it is the CPU; programs run where they were compiled for.
            normalize_embeddings: Scale each vector to length 1.
            truncate_dim: Keep this many leading dims.
            pool: Only ``None``: there are no worker processes, since a program uses all CPUs, or devices, by itself.
            chunk_size: Accepted for sentence-transformers' callers, who size a pool's work with it.
            task: What the vectors are for (``"query"``, ``"document"``). It matters to a repo with a Router only.
            overlong: What to do with texts past ``max_seq_length``: ``"truncate"`` shortens them with one warning,
                ``"error"`` refuses them, ``"chunk"`` averages the vectors of consecutive windows.
            device_ids: Devices of the card.
            sentences: The older name of ``inputs``.
            ranges: The least and the largest value of each dimension, ``(2, dim)``, for ``"int8"`` and ``"uint8"``.
                Left out, they are those of this call's vectors, with a warning below 100 of them. What is to be
                compared needs the same ranges.

        Returns:
            Shape ``(texts, dim)``, float32; ``(dim,)`` for one string; ``(0, dim)`` for none. With ``precision``, int8
            or uint8; the binary ones have ``ceil(dim / 8)`` columns.

        Raises:
            InputError: Not strings, a text without tokens, one that fits no compiled bucket, or ``ranges`` of another
                width.
            OptionError: 8-bit codes of a single text without ``ranges``, or ``ranges`` of any other precision.
            UsageError: Not compiled, compiled without pooling, no such precision, or a task of another route.
        """
        args = EncodeArgs.of(locals())
        if any(given is not None for given in (device, batch_size, pool, chunk_size)):
            self._accept(device, batch_size, pool, chunk_size)
        texts = inputs if sentences is None else arguments.renamed("sentences", sentences, "inputs", inputs)
        return self._encoder_for(task, args).encode(texts, device_ids)

    def encode_iter(
        self,
        inputs: Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        task: str | None = None,
        overlong: Literal["error", "truncate", "chunk"] = "truncate",
        device_ids: Sequence[int] | None = None,
        window: int = WINDOW,
        sentences: Iterable[str] | None = None,
        precision: Precision | None = "float32",
        ranges: Any = None,
    ) -> Iterator[Any]:
        """Strings stream in, vectors stream out, in order and in bounded memory; neither need have an end.

        >>> model = QEFFAutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2", pooling="mean")
        >>> path = model.compile()
        >>> [vector.shape for vector in model.encode_iter(f"text {number}" for number in range(3))]
        [(384,), (384,), (384,)]

        The strings are read in this thread, ahead of the vectors: some windows of them. Who gives them slowly gets
        each vector before the next string is asked for. What the source raises is raised here, after the vectors of
        all strings before it; so is the error about an item that can't be run, which names its number. Until the
        iterator is used up or closed, it uses the program's session: other ``device_ids`` wait for that.

        Args:
            inputs: Whatever gives one string after the other, in an order of its own.
            prompt_name: As in :meth:`encode`, as all that follow.
            prompt: Likewise.
            output_value: Likewise; ``"token_embeddings"`` gives one ``(tokens, dim)`` array a string.
            convert_to_numpy: False gives tensors.
            convert_to_tensor: Likewise.
            normalize_embeddings: As in :meth:`encode`.
            truncate_dim: Likewise.
            task: Likewise.
            overlong: Likewise; ``"truncate"`` warns at the first one that is shortened.
            device_ids: Likewise.
            window: The most strings that are sorted by length together. Fewer take less memory and make more padding.
            sentences: The older name of ``inputs``.
            precision: As in :meth:`encode`.
            ranges: Likewise; ``"int8"`` and ``"uint8"`` need them here.

        Returns:
            An iterator over vectors ``(dim,)``, float32; codes with ``precision``.

        Raises:
            InputError: Not strings, a text without tokens, or one that fits no compiled bucket.
            OptionError: 8-bit codes without ``ranges``, or ``ranges`` of any other precision.
            UsageError: Not compiled, compiled without pooling, or a task of another route.
        """
        encoder = self._encoder_for(task, EncodeArgs.of(locals()))
        texts = arguments.renamed("sentences", sentences, "inputs", inputs)
        return encoder.stream(texts, arguments.positive("window", window, "texts"), device_ids)

    def _encoder_for(self, task: str | None, args: EncodeArgs) -> TextEncoder:
        """What encodes with these arguments: of the last call, where that had the same ones."""
        loaded = self._loaded or self._need_loaded()
        if args.truncate_dim is not None and (dim := arguments.whole(args.truncate_dim)) is not None:
            args = args._replace(truncate_dim=dim)  # an array of one number may hold another by the next call
        limit, last = self._max_seq_length, self._encoder
        given = (loaded, limit, task, *args)
        # `is`, for equal is not the same: True equals 1, and is no number of dims.
        if last is None or not all(map(operator.is_, last[0], given)):
            facts = loaded.limited(limit)
            prompts.check_task(facts, task)
            last = self._encoder = given, TextEncoder(loaded, facts, args)
        return last[1]

    def encode_query(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """As :meth:`encode` for the task ``"query"``, with that prompt of the repo unless another is named."""
        return self._encode_for("query", locals())

    def encode_document(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """As :meth:`encode` for the task ``"document"``, with that prompt of the repo unless another is named.

        A repo without one has an empty one, as in sentence-transformers: ``"passage"`` has to be named.
        """
        return self._encode_for("document", locals())

    def _encode_for(self, task: str, given: Mapping[str, Any]) -> Any:
        """``encode`` for a task, with its prompt unless another is named.

        Args:
            task: Also the prompt's name.
            given: The arguments of a method that has those of ``encode``, ``self`` and ``kwargs`` among them.
        """
        keywords = {name: value for name, value in given.items() if name not in ("self", "kwargs")}
        if keywords["prompt_name"] is None and keywords["prompt"] is None:
            keywords["prompt_name"] = task
        return self.encode(**keywords, **{"task": task} | given["kwargs"])

    def _string_call(self, device_ids: Sequence[int] | None) -> Callable[[Sequence[str]], object]:
        loaded = self._need_loaded()
        value: Any = "token_embeddings" if loaded.per_token else "sentence_embedding"
        task = prompts.task_of(loaded.text)
        return lambda texts: self.encode(
            texts, show_progress_bar=False, output_value=value, device_ids=device_ids, task=task
        )

    # ------------------------------------------------------------------------------ as sentence-transformers

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt name → text."""
        return prompts.all_prompts(self._loaded.text if self._loaded else self._text())

    def get_sentence_embedding_dimension(self) -> int | None:
        """Width of a pooled vector, ``None`` before ``compile`` or without pooling."""
        loaded = self._loaded
        if loaded is None or loaded.program.manifest.model is None or loaded.per_token:
            return None
        return loaded.kept_dims

    get_embedding_dimension = get_sentence_embedding_dimension

    @property
    def similarity_fn_name(self) -> str:
        """``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``, as the repo says."""
        return (self._loaded.text if self._loaded else self._text()).similarity

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Similarity of every vector of one set with every vector of the other, shape ``(n, m)``.

        Distances are negated, as sentence-transformers does. A tensor in gives a tensor out, an array an array.
        """
        return similarity.similarity(self.similarity_fn_name, embeddings1, embeddings2, pairwise=False)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Similarity of the vectors at equal positions, shape ``(n,)``."""
        return similarity.similarity(self.similarity_fn_name, embeddings1, embeddings2, pairwise=True)

    # ------------------------------------------------------------------------------------ as transformers has it

    def _model_output(self, tensors: dict[str, Any]) -> Any:
        """``last_hidden_state`` ``(rows, length, dim)`` without pooling, else ``pooler_output`` ``(rows, dim)``."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.utils import generic

        if "output" not in tensors:  # an architecture with outputs of its own
            kind: Any = generic.ModelOutput
            return kind(tensors)
        name = "pooler_output" if self._head_steps() else "last_hidden_state"
        return BaseModelOutputWithPooling(**{name: tensors["output"]})

    def _head_steps(self) -> tuple[Mapping[str, Json], ...]:
        facts = self._loaded.program.manifest.model if self._loaded else None
        return facts.head if facts else self._head.steps
