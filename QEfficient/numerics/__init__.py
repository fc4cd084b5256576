"""Numbers held against HuggingFace's."""
