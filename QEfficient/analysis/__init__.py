"""What a model costs and how it fits a card: parameters, FLOPs, bytes, memory, roofline, lint, predicted speed."""
