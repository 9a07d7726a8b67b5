"""The command `hlstm`. `--help` and a mistyped option answer before TensorFlow is loaded."""

from hlstm_tf._cli.command import main

__all__ = ["main"]
