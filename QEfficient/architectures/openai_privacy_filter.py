"""OpenAI's privacy filter: rotary positions, local attention, a mixture of experts."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(
    model_type="openai_privacy_filter",
    limit=partial(rotary, default=131072),
    default_pad_id=199999,
    blocks={
        "transformers.models.openai_privacy_filter.modeling_openai_privacy_filter.OpenAIPrivacyFilterExperts": (
            "QEfficient.pytorch_transforms.moe.ClampedExperts"
        )
    },
    routed=True,
)
