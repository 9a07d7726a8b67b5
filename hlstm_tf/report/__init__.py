"""Plots, model cards and report pages."""
