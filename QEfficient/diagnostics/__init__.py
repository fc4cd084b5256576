"""What can be known of a model or a saved program: verify, doctor, analyze, recommend, benchmark."""
