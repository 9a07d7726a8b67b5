"""What is done to a model before it is exported."""

import keras


def plain_model(model: keras.Model) -> keras.Model:
    """The same function without masks."""
    return model
