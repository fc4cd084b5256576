"""How each contender is loaded and writes, as its documentation says; each function imports its own library only.

A loader takes its options and gives a :class:`Writer`. This file runs in the contender's environment, where neither
this repository nor the other contenders need be installed. All write greedily from ids and take no notice of the end
of a text: the token is written like any other, and whoever wants an answer cuts there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Sequence[int]]
Written = tuple[list[list[int]], float]
"""New ids of each row; when, by ``time.perf_counter``, each row had its first."""

PAD = 2  # stands before a shorter row of a batch; nobody looks at it
NEVER = 16  # a mark that no text has; stands in for the end where a library must have one


@dataclass
class Writer:
    """A model in memory.

    Attributes:
        write: Prompts and a number of new tokens → these tokens of each, and when the first of all rows was there.
    """

    write: Callable[[Rows, int], Written]


class FirstTokens:
    """A stopping criterion that stops nothing: it sees when each of the prompts has grown by a token.

    Args:
        rows: The prompts, if it is asked for each row by itself; else it is asked for all rows together, once a token.
    """

    def __init__(self, rows: Rows = ()) -> None:
        self.waited_for = {tuple(row) for row in rows}
        self.at = 0.0

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        """Ids so far, ``(rows, length)`` → for each row False."""
        if not self.at:
            if self.waited_for:
                self.waited_for.discard(tuple(ids[0, :-1].tolist()))
            if not self.waited_for:
                self.at = time.perf_counter()
        return ids[:, -1] < 0


def qefficient(options: Mapping[str, Any]) -> Writer:
    """A saved program, in a process without torch."""
    import numpy as np

    from QEfficient import QEFFAutoModelForCausalLM

    model = QEFFAutoModelForCausalLM.from_pretrained(options["folder"])

    def write(rows: Rows, new: int) -> Written:
        ids, mask = (np.array(one) for one in _padded(rows))
        first = FirstTokens(rows)
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=-1,
            stopping_criteria=[first],
        )
        return found[:, ids.shape[1] :].tolist(), first.at

    return Writer(write)


def transformers(options: Mapping[str, Any]) -> Writer:
    """``AutoModelForCausalLM.generate``; shorter rows are padded."""
    from transformers import AutoModelForCausalLM

    torch = _torch(options)
    dtype = getattr(torch, options["dtype"])
    return _by_generate(AutoModelForCausalLM.from_pretrained(options["folder"], dtype=dtype).eval())


def optimum_onnx(options: Mapping[str, Any]) -> Writer:
    """``ORTModelForCausalLM.generate``; shorter rows are padded."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForCausalLM

    _torch(options)
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options["threads"]
    return _by_generate(ORTModelForCausalLM.from_pretrained(options["folder"], session_options=chosen))


def optimum_intel(options: Mapping[str, Any]) -> Writer:
    """``OVModelForCausalLM.generate``; shorter rows are padded."""
    from optimum.intel import OVModelForCausalLM

    _torch(options)
    return _by_generate(OVModelForCausalLM.from_pretrained(options["folder"], ov_config=_openvino(options)))


def openvino_genai(options: Mapping[str, Any]) -> Writer:
    """``ContinuousBatchingPipeline``: every row a request; no prefix is kept."""
    import numpy as np
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.max_num_batched_tokens = options["batched_tokens"]
    pipeline = genai.ContinuousBatchingPipeline(options["folder"], scheduler, "CPU", _openvino(options))

    def write(rows: Rows, new: int) -> Written:
        settings = genai.GenerationConfig(max_new_tokens=new, ignore_eos=True, do_sample=False)
        handles = [
            pipeline.add_request(number, openvino.Tensor(np.array([row], np.int64)), settings)
            for number, row in enumerate(rows)
        ]
        ids: list[list[int]] = [[] for _ in rows]
        first = 0.0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle, tokens in zip(handles, ids, strict=True):
                while handle.can_read():
                    for output in handle.read().values():
                        tokens.extend(output.generated_ids)
            if not first and all(ids):
                first = time.perf_counter()
        return ids, first

    return Writer(write)


def onnxruntime_genai(options: Mapping[str, Any]) -> Writer:
    """``Generator``; shorter rows are padded, which its model sees by the padding's id."""
    import json

    import numpy as np
    import onnxruntime_genai as genai

    config = genai.Config(options["folder"])
    session = {"intra_op_num_threads": options["threads"]}
    config.overlay(json.dumps({"model": {"eos_token_id": NEVER, "decoder": {"session_options": session}}}))
    model = genai.Model(config)

    def write(rows: Rows, new: int) -> Written:
        ids = np.array(_padded(rows)[0], np.int32)
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(do_sample=False, batch_size=len(rows), max_length=ids.shape[1] + new)
        generator = genai.Generator(model, parameters)
        generator.append_tokens(ids)
        generator.generate_next_token()
        first = time.perf_counter()
        for _ in range(new - 1):
            generator.generate_next_token()
        return [generator.get_sequence(row)[ids.shape[1] :].tolist() for row in range(len(rows))], first

    return Writer(write)


def llama_cpp(options: Mapping[str, Any]) -> Writer:
    """llama.cpp's own interface: a sequence each, all in one batch. One context for one row, and one for eight."""
    import llama_cpp as llama
    import numpy as np

    llama.llama_backend_init()
    file = f"{options['folder']}/model.gguf"
    model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp does not load {file}")
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    contexts: dict[int, Any] = {}

    def context(many: int) -> Any:
        if many not in contexts:
            chosen = llama.llama_context_default_params()
            chosen.n_ctx, chosen.n_seq_max = options["positions"][str(many)] * many, many
            chosen.n_batch = 2048
            chosen.n_threads = chosen.n_threads_batch = options["threads"]
            contexts[many] = llama.llama_init_from_model(model, chosen)
        return contexts[many]

    def decode(used: Any, batch: Any, tokens: Sequence[tuple[int, int, int, bool]]) -> list[int]:
        """Token, position, sequence, whether its logits are wanted → the likeliest next ones, in this order."""
        batch.n_tokens = len(tokens)
        for place, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
            batch.logits[place] = wanted
        if code := llama.llama_decode(used, batch):
            raise RuntimeError(f"llama_decode gave {code}")
        return [
            int(np.ctypeslib.as_array(llama.llama_get_logits_ith(used, place), (vocabulary,)).argmax())
            for place, one in enumerate(tokens)
            if one[3]
        ]

    def write(rows: Rows, new: int) -> Written:
        used = context(1 if len(rows) == 1 else options["rows"])
        llama.llama_memory_clear(llama.llama_get_memory(used), True)
        batch = llama.llama_batch_init(2048, 0, 1)
        prompts = [
            (token, position, sequence, position == len(row) - 1)
            for sequence, row in enumerate(rows)
            for position, token in enumerate(row)
        ]
        ids = [[token] for token in decode(used, batch, prompts)]
        first = time.perf_counter()
        for step in range(new - 1):
            tokens = [
                (written[-1], len(row) + step, sequence, True)
                for sequence, (row, written) in enumerate(zip(rows, ids, strict=True))
            ]
            for written, token in zip(ids, decode(used, batch, tokens), strict=True):
                written.append(token)
        llama.llama_batch_free(batch)
        return ids, first

    return Writer(write)


def ctranslate2(options: Mapping[str, Any]) -> Writer:
    """``Generator.generate_batch``, all rows in one batch."""
    import json
    from pathlib import Path

    import ctranslate2 as library

    folder = Path(options["folder"])
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    generator = library.Generator(
        str(folder), device="cpu", compute_type=options["compute"], inter_threads=1, intra_threads=options["threads"]
    )

    def write(rows: Rows, new: int) -> Written:
        without: set[int] = set(range(len(rows)))
        first = 0.0

        def seen(step: Any) -> bool:
            nonlocal first
            without.discard(step.batch_id)
            if not without and not first:
                first = time.perf_counter()
            return False

        found = generator.generate_batch(
            [[words[token] for token in row] for row in rows],
            max_length=new,
            min_length=new,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
            callback=seen,
        )
        return [list(one.sequences_ids[0]) for one in found], first

    return Writer(write)


# ----------------------------------------------------------------------------------------------------- what they share


def _by_generate(model: Any) -> Writer:
    """Whoever has transformers' ``generate``."""
    import torch
    from transformers import StoppingCriteriaList

    model.generation_config.eos_token_id = None

    def write(rows: Rows, new: int) -> Written:
        ids, mask = (torch.tensor(one) for one in _padded(rows))
        first = FirstTokens()
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=new,
                pad_token_id=PAD,
                stopping_criteria=StoppingCriteriaList([first]),
            )
        return found[:, ids.shape[1] :].tolist(), first.at

    return Writer(write)


def _padded(rows: Rows) -> tuple[list[list[int]], list[list[int]]]:
    """Ids ``(rows, longest)`` with padding on the left, and a mask that has 1 for real ones."""
    width = max(map(len, rows))
    ids = [[PAD] * (width - len(row)) + list(row) for row in rows]
    return ids, [[0] * (width - len(row)) + [1] * len(row) for row in rows]


def _torch(options: Mapping[str, Any]) -> Any:
    import torch

    torch.set_num_threads(options["threads"])
    return torch


def _openvino(options: Mapping[str, Any]) -> dict[str, Any]:
    """With ``exact`` float32 arithmetic and caches; else OpenVINO takes its own: bf16 where the CPU has it."""
    chosen: dict[str, Any] = {"INFERENCE_NUM_THREADS": options["threads"]}
    if options.get("exact"):
        chosen |= {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    return chosen
