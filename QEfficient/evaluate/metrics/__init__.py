"""What answers are worth: metrics, their intervals, and differences between two models."""
