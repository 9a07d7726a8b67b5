"""SavedModel and TFLite files, and the check that they compute what the model does."""
