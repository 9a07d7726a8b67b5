"""Applications built on the public names of ``hlstm_tf``."""
