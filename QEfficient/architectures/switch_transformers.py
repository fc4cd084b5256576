"""Switch Transformers: as T5, with a mixture of experts; an expert takes a limited number of a row's tokens."""

from dataclasses import replace

from QEfficient.architectures import t5

ARCHITECTURE = replace(
    t5.ARCHITECTURE,
    model_type="switch_transformers",
    mask="own",
    blocks={
        "switch_transformers.SwitchTransformersTop1Router": "moe.SwitchRouter",
        "switch_transformers.SwitchTransformersExperts": "moe.SwitchExperts",
    },
    routed=True,
)
