"""The public face: the road's methods and their signatures, one file a task."""
