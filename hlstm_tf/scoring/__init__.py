"""What connections and neurons are scored by: passes of the training data, and training steps."""
