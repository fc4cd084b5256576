"""Switch Transformers: as T5, with a mixture of experts; an expert takes a limited number of a row's tokens."""

from dataclasses import replace

from QEfficient.architectures import t5

SOURCE = "transformers.models.switch_transformers.modeling_switch_transformers.SwitchTransformers"
OURS = "QEfficient.pytorch_transforms.moe.Switch"
ARCHITECTURE = replace(
    t5.ARCHITECTURE,
    model_type="switch_transformers",
    mask="own",
    blocks={f"{SOURCE}Top1Router": f"{OURS}Router", f"{SOURCE}Experts": f"{OURS}Experts"},
    routed=True,
)
