"""Layers: what a model is made of. Knows nothing of training."""
