"""SeamlessM4T: its text encoder, as M2M-100."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(
    bart.ARCHITECTURE,
    model_type="seamless_m4t",
    default_pad_id=0,
    left_out={"input_features": "a program of it is its text encoder"},
)
