"""What an Auto object of a model that writes about sources is called for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from QEfficient.auto.seq2seq_road import Seq2SeqRoad
from QEfficient.auto.torch_generation import as_asked, torch_generate
from QEfficient.errors import UsageError
from QEfficient.generation.forms import read_form
from QEfficient.generation.from_sources import generate_about


class Seq2SeqGenerating(Seq2SeqRoad):
    """Writes about sources with the compiled program. Safe from any number of threads, who share its slots."""

    def generate(
        self,
        *args: Any,
        device_id: int | Sequence[int] | None = None,
        runtime_ai100: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Writes about sources, as HuggingFace's ``generate``: ids in, ids out.

        Any number of sources of any lengths; each answer ends where it ends, and is written as it would be alone.

        Args:
            *args: HuggingFace's ``inputs, generation_config, logits_processor, stopping_criteria,
                prefix_allowed_tokens_fn``. ``inputs`` may be all that a tokenizer gave.
            device_id: Device of the card, or a list of them; ``device_ids`` is the same.
            runtime_ai100: False runs the torch model (``model.generate``) instead of the program.
            **kwargs: ``input_ids`` or ``inputs`` ``(rows, width)``, what the encoder reads, with ``attention_mask`` (1
                for real tokens, padding on either side; left out, pad tokens are padding, as in transformers);
                ``decoder_input_ids`` ``(rows, width)``, what the decoder begins with; every field of transformers'
                ``GenerationConfig`` (``max_new_tokens``, ``num_beams``, ``forced_bos_token_id``,
                ``decoder_start_token_id``, …), ``generation_config``, ``logits_processor``, ``stopping_criteria``,
                ``prefix_allowed_tokens_fn``, ``streamer``, ``generation_len`` (as ``max_new_tokens``), ``tokenizer``,
                ``seed``, ``logit_bias``, ``presence_penalty``, ``frequency_penalty``.

        Returns:
            Ids ``(rows × num_return_sequences, length)``, what the decoder began with in front: a tensor where tensors
            came in, else a numpy array; or with ``return_dict_in_generate`` transformers' record of tensors
            (:class:`QEfficient.generation.results.GenerationOutput` where no tensors came in).

        Raises:
            UsageError: No ids; an unknown keyword, or a value out of range.
            InputError: A source, or a length that was named, does not fit the program; nothing was run.
            DeviceError: The device failed.
        """
        asked = read_form(args, {"prompts": None, "device_id": device_id, "runtime_ai100": runtime_ai100}, kwargs)
        if asked.prompts is not None:
            raise UsageError(
                "generate takes ids here.",
                got="texts",
                allowed="input_ids, or what the tokenizer gives",
                do="tokenise the texts first",
            )
        if not asked.on_program:
            return torch_generate(self.model, asked)
        return as_asked(*generate_about(self._need_loaded(), asked), encoded=True)
