"""What a model costs and how it fits a card: parameters, FLOPs, bytes, memory, roofline, lint, predicted speed."""

from QEfficient.analysis.predictor import predict
from QEfficient.analysis.recommendation import recommend

__all__ = ["predict", "recommend"]
