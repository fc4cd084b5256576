"""Image encoders, and models of texts and images: one tiny config each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.sweep.build import tokens
from tests.sweep.case import LIMIT, VOCAB, Case, Inputs

VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
}
WINDOWS: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [2, 1],
    "num_heads": [2, 4],
    "window_size": 4,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64}
HEADS = {"num_attention_heads": [1, 2, 2, 4]}
RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LIMIT,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 1,
}


def pixels(rows: int, size: int, seed: int) -> Tensor:
    return torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(seed))


def images(size: int) -> Callable[[], Sequence[Inputs]]:
    return lambda: [{"pixel_values": pixels(rows, size, rows)} for rows in (3, 1)]


def running(model: nn.Module) -> None:
    """Batch norms as after a training: transformers starts their means at 0 and variances at 1."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.3, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)


def case(model_type: str, model_class: str, base: dict[str, Any] = VIT, /, **changes: Any) -> Case:
    """A case whose config is ``base`` with changes; the keywords of :class:`Case` go to the case."""
    fields = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
    defaults = {"kind": "vision", "std": 0.3, "inputs": images(base.get("image_size", 224))}
    return Case(model_type, model_class, base | changes, **(defaults | fields))


def net(model_type: str, model_class: str, /, **changes: Any) -> Case:
    """A case of a network whose config names no image size: it is then 224."""
    return case(model_type, model_class, RESNET, **({"prepare": running} | changes))


def embeds(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    output = model(**inputs)
    return output.text_embeds, output.image_embeds


def pairs() -> Sequence[Inputs]:
    """As many texts as images; another test has more of one."""
    result = []
    for rows, padding in ((3, "right"), (1, "none")):
        texts = tokens((rows, LIMIT, padding), pad=1, seed=rows)
        last = texts["attention_mask"].sum(1) - 1
        texts["input_ids"][torch.arange(rows), last] = 3  # the end token, whose state is the text's vector
        result.append({**texts, "pixel_values": pixels(rows, 16, rows)})
    return result


def filled(width: int) -> Inputs:
    """Texts that are padded to one width, without a mask."""
    return {"input_ids": tokens((3, width, "right"), pad=1)["input_ids"]}


SIDES = {"text_config": TEXT, "vision_config": VIT}

CASES: tuple[Case, ...] = (
    case("altclip_vision_model", "AltCLIPVisionModel"),
    case("aimv2_vision_model", "Aimv2VisionModel"),
    case("beit", "BeitModel", use_relative_position_bias=True),
    case("bit", "BitModel", RESNET, num_groups=2, note="Images of 224 × 224 where no processor says another size."),
    case("chinese_clip_vision_model", "ChineseCLIPVisionModel"),
    case("clip_vision_model", "CLIPVisionModel"),
    case("clip_vision_model", "CLIPVisionModelWithProjection", projection_dim=24, variant="projected",
         call=lambda model, inputs: (model(**inputs).image_embeds,)),
    case("clipseg_vision_model", "CLIPSegVisionModel"),
    case("convnext", "ConvNextModel", STAGES, note="The output is a map: (rows, channels, height, width)."),
    case("convnextv2", "ConvNextV2Model", STAGES),
    case("data2vec-vision", "Data2VecVisionModel", use_relative_position_bias=True),
    case("deit", "DeiTModel"),
    case("dinov2", "Dinov2Model", mlp_ratio=2),
    case("dinov2_with_registers", "Dinov2WithRegistersModel", mlp_ratio=2),
    case("dinov3_convnext", "DINOv3ConvNextModel", STAGES),
    case("dinov3_vit", "DINOv3ViTModel"),
    case("focalnet", "FocalNetModel", WINDOWS, focal_levels=[2, 2], focal_windows=[3, 3]),
    case("hiera", "HieraModel", {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
         image_size=[64, 64], inputs=images(64)),
    case("ijepa", "IJepaModel"),
    case("metaclip_2_vision_model", "MetaClip2VisionModel"),
    case("mlcd_vision_model", "MLCDVisionModel"),
    net("poolformer", "PoolFormerModel"),
    case("pvt_v2", "PvtV2Model", STAGES | HEADS),
    net("regnet", "RegNetModel", groups_width=8),
    net("resnet", "ResNetModel", note="Images of 224 × 224 where no processor says another size."),
    net("segformer", "SegformerModel", hidden_sizes=[8, 16, 24, 32], **HEADS),
    case("siglip_vision_model", "SiglipVisionModel"),
    case("swin", "SwinModel", WINDOWS),
    case("swinv2", "Swinv2Model", WINDOWS),
    case("vit", "ViTModel"),
    case("vit", "ViTModel", pooling="pooler_output", variant="pooled",
         call=lambda model, inputs: (model(**inputs).pooler_output,)),
    case("vit_mae", "ViTMAEModel", refused="leaves out patches at random"),
    case("vit_msn", "ViTMSNModel"),
    case("xclip_vision_model", "XCLIPVisionModel", refused="frames of one video"),
    Case("clip", "CLIPModel", SIDES | {"projection_dim": 24}, "text and vision", 0.3, inputs=pairs, call=embeds,
         note="Texts and images in one call; for one side: clip_text_model, clip_vision_model."),
    Case("siglip", "SiglipModel", {"text_config": TEXT | {"projection_size": 32}, "vision_config": VIT},
         "text and vision", 0.3, call=embeds,
         inputs=lambda: [{**filled(LIMIT), "pixel_values": pixels(3, 16, 0)}],
         note="Texts are padded to the model's one width, as it was trained."),
    Case("siglip_text_model", "SiglipTextModel", TEXT | {"projection_size": 16}, "text encoder", 0.3,
         inputs=lambda: [filled(LIMIT)], pooling="pooler_output",
         call=lambda model, inputs: (model(**inputs).pooler_output,),
         note="Rows are padded to the model's one width, as it was trained."),
)  # fmt: skip
