"""``QAICInferenceSession`` under its known import path."""

from QEfficient.backends.qaic.inference_session import QAICInferenceSession

__all__ = ["QAICInferenceSession"]
