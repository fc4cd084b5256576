"""OpenAI's privacy filter: rotary positions, local attention, a mixture of experts."""

from functools import partial

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(
    model_type="openai_privacy_filter",
    limit=partial(rotary, default=131072),
    default_pad_id=199999,
    blocks={"openai_privacy_filter.OpenAIPrivacyFilterExperts": "moe.ClampedExperts"},
    routed=True,
)
