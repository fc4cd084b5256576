"""Speech and audio encoders: one tiny config each, clips of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.architectures import find
from QEfficient.runtime.run import frame_count
from tests.sweep.case import Case, Inputs

SPEECH: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LAYER = SPEECH | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
FRAMES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "feature_projection_input_dim": 10,
    "conv_depthwise_kernel_size": 5,
    "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 3,
    "max_source_positions": 40,
}
SHAPES = ((3, 640), (1, 30))  # rows and samples of the longest; 30 make one frame


def clips() -> Sequence[Inputs]:
    """Row i is 150 samples shorter than the one before it."""
    return [clip(rows, samples) for rows, samples in SHAPES]


def clip(rows: int, samples: int) -> Inputs:
    values = torch.randn(rows, samples, generator=torch.Generator().manual_seed(samples))
    lengths = samples - 150 * torch.arange(rows)
    mask = (torch.arange(samples) < lengths[:, None]).to(torch.int64)
    return {"input_values": values * mask, "attention_mask": mask}


def framed() -> Sequence[Inputs]:
    """Spectrograms of any length: row i is 9 frames shorter than the one before it."""
    result = []
    for rows, length in ((3, 20), (1, 1)):
        values = torch.randn(rows, length, 10, generator=torch.Generator().manual_seed(length))
        mask = (torch.arange(length) < (length - 9 * torch.arange(rows))[:, None]).to(torch.int64)
        result.append({"input_features": values, "attention_mask": mask})
    return result


def frames(model_type: str, config: dict[str, Any], inputs: Inputs) -> Tensor:
    """The frames of each clip, as a mask."""
    convolutions = find(model_type).frames(config)
    lengths = torch.tensor([frame_count(int(length), convolutions) for length in inputs["attention_mask"].sum(1)])
    width = frame_count(inputs["attention_mask"].shape[1], convolutions)
    return torch.arange(width) < lengths[:, None]


def case(model_type: str, model_class: str, base: dict[str, Any] = LAYER, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case."""
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    config = base | changes
    defaults = {"inputs": clips, "real": lambda inputs: frames(model_type, config, inputs)}
    return Case(model_type, model_class, config, "audio", 0.3, **(defaults | fields))


def spectrograms(name: str, *size: int) -> Sequence[Inputs]:
    generator = torch.Generator().manual_seed(0)
    return [{name: torch.randn(rows, *size, generator=generator)} for rows in (3, 1)]


def encoder(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    return (model.get_encoder()(**inputs).last_hidden_state,)


ALONE = "A row's numbers depend on padding, in transformers too: each clip runs with clips of its own length."

CASES: tuple[Case, ...] = (
    Case("audio-spectrogram-transformer", "ASTModel",
         {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
          "patch_size": 4, "frequency_stride": 3, "time_stride": 3, "max_length": 20, "num_mel_bins": 16},
         "audio", 0.3, inputs=lambda: spectrograms("input_values", 20, 16)),
    case("data2vec-audio", "Data2VecAudioModel", SPEECH, num_conv_pos_embeddings=2, conv_pos_kernel_size=7, note=ALONE),
    case("hubert", "HubertModel", num_hidden_layers=1),
    case("unispeech", "UniSpeechModel", num_hidden_layers=1),
    case("unispeech-sat", "UniSpeechSatModel", num_hidden_layers=1),
    case("wav2vec2", "Wav2Vec2Model"),
    case("wav2vec2", "Wav2Vec2Model", SPEECH, variant="group", note=ALONE),
    case("wav2vec2", "Wav2Vec2Model", LAYER | {"num_hidden_layers": 1}, add_adapter=True, num_adapter_layers=1,
         variant="adapter", note=ALONE),
    case("wav2vec2-bert", "Wav2Vec2BertModel", FRAMES, num_hidden_layers=2, inputs=framed),
    case("wav2vec2-bert", "Wav2Vec2BertModel", FRAMES, position_embeddings_type="relative", inputs=framed,
         variant="relative"),
    case("wav2vec2-bert", "Wav2Vec2BertModel", FRAMES, add_adapter=True, num_adapter_layers=1, inputs=framed,
         variant="adapter", note=ALONE),
    case("wav2vec2-bert", "Wav2Vec2BertModel", FRAMES, position_embeddings_type="rotary", variant="rotary",
         refused="from one call to the next"),
    case("wav2vec2-conformer", "Wav2Vec2ConformerModel", refused="makes a constant of their length"),
    case("wavlm", "WavLMModel"),
    Case("whisper", "WhisperModel",
         {"vocab_size": 50, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4,
          "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 8,
          "max_source_positions": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
          "decoder_start_token_id": 3},
         "audio", 0.3, inputs=lambda: spectrograms("input_features", 8, 40), call=encoder,
         note="The encoder only, over a spectrogram of 30 seconds."),
)  # fmt: skip
