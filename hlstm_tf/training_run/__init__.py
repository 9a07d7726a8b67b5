"""A run of grow-and-prune training: its plan, how it is carried out, kept and resumed."""
