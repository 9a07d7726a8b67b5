"""What the applications share: errors, files, progress, records, a training's state on disk."""
