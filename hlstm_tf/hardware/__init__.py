"""Latency measured on the target engine, and dimensions chosen by it."""

from hlstm_tf.hardware.latency import Latency

__all__ = ["Latency"]
