"""The shared parts of the applications: errors, files, progress, records, runs on disk."""
