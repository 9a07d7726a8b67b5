"""The recipes by architecture."""
