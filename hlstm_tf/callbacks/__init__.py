"""When connections change: one Keras callback a file."""
