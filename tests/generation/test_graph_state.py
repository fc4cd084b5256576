"""What a decoder's graph writes, and where: dropped writes, slots that are not named, both forms."""

from __future__ import annotations

import numpy as np
import pytest

from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.test_graph_tokens import prompt
from tests.generation.tiny_decoders import Bare, own_logits, tiny_decoder

PLAIN = DecoderForm(continuous=False, keeps_logits=True)
TYPES = ["llama", "gemma3_text"]


def call(bare: Bare, ids, positions, slots, **more):
    return bare.run(input_ids=np.array(ids), position_ids=np.array(positions), batch_index=np.array(slots), **more)


@pytest.mark.parametrize("model_type", TYPES)
def test_only_named_slots_change_and_dropped_writes_go_to_the_scratch_slot(model_type, graph_of):
    bare = Bare(graph_of(model_type), 4, fill=7.0)
    ids = [[1, 2, 3, 4]] * 3
    call(bare, ids, [[0, 1, -1, -1], [5, 6, 7, 8], [-1, -1, -1, -1]], [[2], [-1], [0]])
    for state in bare.states.values():
        assert (state[:2] == 7.0).all()  # slot 0 had padding only, slot 1 was not named
        assert (state[2, :, 2:] == 7.0).all() and (state[2, :, :2] != 7.0).all()
        assert (state[3] != 7.0).any()


def test_positions_and_slots_out_of_range_are_dropped(graph_of):
    bare = Bare(graph_of("llama"), 4, ctx_len=16, fill=7.0)
    logits = call(bare, [[1, 2]] * 3, [[16, 2**31 - 1], [0, 1], [2, 3]], [[0], [9], [3]])
    assert np.isfinite(logits[1:]).all()
    for state in bare.states.values():
        assert (state[:3] == 7.0).all()


@pytest.mark.parametrize("model_type", TYPES)
def test_the_plain_form_with_kept_logits(model_type, graph_of):
    """Rows of mixed lengths; the last three logits of each, the row's largest position last."""
    bare, model = Bare(graph_of(model_type, PLAIN), 3), tiny_decoder(model_type)
    sequences = [prompt(length, length) for length in (40, 37, 23)]
    wanted = [own_logits(model, ids) for ids in sequences]
    for start in range(0, 40, 7):
        parts = [ids[start : start + 7] for ids in sequences]
        logits = bare.step([(None, part, start) for part in parts], num_logits_to_keep=np.zeros((3, 1)))
        for row, part in enumerate(parts):
            for back in range(min(3, len(part))):
                np.testing.assert_allclose(
                    logits[row, 2 - back],
                    wanted[row][start + len(part) - 1 - back],
                    atol=1e-4,
                    err_msg=f"{row} {start}",
                )


def test_the_plain_form_drops_writes_at_the_last_position(graph_of):
    bare = Bare(graph_of("llama", PLAIN), 2, ctx_len=8, fill=7.0)
    rows = np.array([[0, 1, -1], [-1, -1, -1]])
    bare.run(input_ids=np.ones((2, 3)), position_ids=rows, num_logits_to_keep=np.zeros((1, 1)))
    for state in bare.states.values():
        assert (state[0, :, :2] != 7.0).all() and (state[:, :, 2:7] == 7.0).all() and (state[1, :, :7] == 7.0).all()


def test_a_slot_goes_back_and_is_written_again(graph_of):
    """Speculative decoding: tokens that were refused are overwritten."""
    ids, bare = prompt(20, 6), Bare(graph_of("qwen3"), 3)
    bare.step([(0, ids[:10] + [5, 6, 7], 0)])
    logits = bare.step([(0, ids[10:], 10)])
    np.testing.assert_allclose(logits[0, 0], own_logits(tiny_decoder("qwen3"), ids)[-1], atol=1e-4)
