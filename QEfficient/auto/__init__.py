"""The public face: one file a task. The only room that chains the stages."""
