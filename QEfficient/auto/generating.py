"""What an Auto object of a model that writes text is called for: ``generate``, ``chat``, ``stream``, ``perplexity``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from QEfficient.auto.language_tuning import LanguageTuning
from QEfficient.auto.torch_generation import as_asked, torch_generate
from QEfficient.generation.answer_stream import AnswerStream
from QEfficient.generation.conversation import Template
from QEfficient.generation.forms import read_form
from QEfficient.generation.from_ids import generate_ids
from QEfficient.generation.from_prompts import generate_texts
from QEfficient.generation.from_text import TextCall, text_ids
from QEfficient.generation.perplexity import Perplexity, perplexity


class Generating(LanguageTuning):
    """Writes text with the compiled program. Safe from any number of threads, whose sequences share its slots."""

    def generate(
        self,
        *args: Any,
        prompts: str | Iterable[str] | None = None,
        device_id: int | Sequence[int] | None = None,
        runtime_ai100: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Writes on from prompts, as the vendor's ``generate``, or from ids, as HuggingFace's.

        ``generate(tokenizer, prompts)`` prints each prompt with its answer and gives a ``CloudAI100ExecInfo``.
        ``generate(input_ids)`` prints nothing and gives ids, prompts with them, as transformers' models do: a tensor
        where tensors came in, else a numpy array. Any number of prompts of any lengths; each ends where it ends, and
        is written as it would be alone.

        Args:
            *args: The vendor's ``tokenizer, prompts, device_id, runtime_ai100``; or HuggingFace's ``inputs,
                generation_config, logits_processor, stopping_criteria, prefix_allowed_tokens_fn``. ``inputs`` may be
                all that a tokenizer gave.
            prompts: Texts; a chat template is not put around them. The call is then the vendor's.
            device_id: Device of the card, or a list of them; ``device_ids`` is the same.
            runtime_ai100: False runs the torch model (``model.generate``) instead of the program.
            **kwargs: ``input_ids`` or ``inputs`` ``(rows, width)``, with ``attention_mask`` (1 for real tokens,
                padding on either side).

                Of either form: ``tokenizer`` (the program's own when left out; it is never altered), every field of
                transformers' ``GenerationConfig`` (``max_new_tokens``, ``do_sample``, ``temperature``, ``num_beams``,
                ``stop_strings``, ``prompt_lookup_num_tokens``, …), ``generation_config``, ``logits_processor``,
                ``stopping_criteria``, ``prefix_allowed_tokens_fn``, ``generation_len`` (as ``max_new_tokens``),
                ``seed``, ``logit_bias``, ``presence_penalty``, ``frequency_penalty``.

                Of prompts: ``prompts_txt_file_path`` (one a line, in place of ``prompts``), ``stream`` (True: print),
                ``automation`` (print inputs, outputs and times at the end), ``iteration`` (run so many times; times
                are means).

                Of ids: ``streamer`` (``put(ids)`` and ``end()``, of one row), ``return_dict_in_generate``,
                ``output_scores``, ``output_logits``.

                Where no length is named, by caller or repo, prompts are gone on with to ``ctx_len``, ids for 20 tokens.

        Returns:
            A :class:`QEfficient.generation.results.CloudAI100ExecInfo`; or ids ``(rows × num_return_sequences,
            length)``, or with ``return_dict_in_generate`` transformers' record of tensors
            (:class:`QEfficient.generation.results.GenerationOutput` where no tensors came in).

        Raises:
            UsageError: Ids and prompts together, or neither; an unknown keyword, or a value out of range.
            InputError: A prompt, or a length that was named, does not fit ``ctx_len``; nothing was run.
            DeviceError: The device failed.
        """
        given = {"prompts": prompts, "device_id": device_id, "runtime_ai100": runtime_ai100}
        asked = read_form(args, given, kwargs)
        if not asked.on_program:
            return torch_generate(self.model, asked)
        loaded = self._need_loaded()
        if asked.prompts is not None:
            return generate_texts(loaded, asked)
        return as_asked(*generate_ids(loaded, asked))

    def chat(
        self,
        messages: Any,
        tools: Sequence[Any] | None = None,
        *,
        documents: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool | str = False,
        template_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answers a conversation.

        Args:
            messages: ``[{"role": "user", "content": "…"}]``; or a list of such conversations.
            tools: Functions that the model may call, as JSON schemas (or Python functions, with a transformers
                tokenizer as ``tokenizer``).
            documents: Texts to answer from, where the template knows any.
            continue_final_message: Go on with the last message instead of beginning an answer.
            template_kwargs: What else the chat template knows, such as ``{"enable_thinking": False}``.
            **kwargs: As :meth:`generate` takes them (``max_new_tokens``, ``seed``, …); and ``json_schema``,
                ``regex`` or ``grammar`` (Lark), which the answer follows (extra ``grammar``); ``json_compact`` (False)
                leaves the JSON no blanks.

        Returns:
            The answer's text, without special tokens and without a stop string; of a list of conversations a list.

        Raises:
            UsageError: No chat template, or a keyword that does not fit.
            InputError: A conversation does not fit.
            DeviceError: The device failed.
        """
        template = Template(tools, documents, continue_final_message, template_kwargs)
        return TextCall(self._need_loaded(), template, kwargs).chat(messages)

    def stream(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        *,
        documents: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool | str = False,
        template_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> AnswerStream:
        """Writes on from a prompt, or answers a conversation, piece by piece.

        Args:
            prompt: A text, around which no chat template is put; or a conversation, as :meth:`chat` takes it.
            tools: As :meth:`chat`, as all that follow.
            documents: Likewise.
            continue_final_message: Likewise.
            template_kwargs: Likewise.
            **kwargs: Likewise; ``logprobs`` (True, or how many of the likeliest tokens) keeps log-probabilities.

        Returns:
            What gives pieces of text to ``for`` and ``async for``. It has ``text``, ``ids``, ``reason`` and
            ``logprobs``, and ends the answer when it is left or closed.

        Raises:
            UsageError: No chat template, or a keyword that does not fit.
            InputError: The prompt does not fit.
            DeviceError: The device failed; raised where a piece is waited for.
        """
        template = Template(tools, documents, continue_final_message, template_kwargs)
        return TextCall(self._need_loaded(), template, kwargs).stream(prompt)

    def perplexity(
        self,
        texts: str | Iterable[str],
        *,
        stride: int | None = None,
        tokenizer: Any = None,
        device_ids: Sequence[int] | None = None,
    ) -> Perplexity:
        """How well the program predicts texts: exp of the mean of −log p over all predicted tokens.

        A text longer than ``ctx_len`` is cut into windows; see ``QEfficient.generation.perplexity.perplexity``.

        Args:
            texts: One or more, each of two tokens or more.
            stride: Tokens from one window's start to the next one's; left out, windows share nothing.
            tokenizer: The program's own when left out.
            device_ids: Devices of the card; ``None`` lets the runtime choose.

        Returns:
            ``float(found)`` is the value; ``per_text``, ``losses`` and ``tokens`` are those of each text.

        Raises:
            InputError: A text is too short.
            DeviceError: The device failed.
        """
        loaded = self._need_loaded()
        ids = text_ids(loaded, texts, tokenizer)
        return perplexity(loaded.engine(device_ids), ids, stride=stride)
