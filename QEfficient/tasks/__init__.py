"""One file a kind of task: its graphs, how they are traced, what HuggingFace gives, how the two are compared."""
