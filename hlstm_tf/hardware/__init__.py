"""Latency measured on the target engine, and dimensions chosen by it."""
