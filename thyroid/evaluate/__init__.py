"""Metrics, and the statistics that say how far to trust them.

Functions over numpy arrays, and the CSV form of predictions. Only `generators` imports torch, which
torchmetrics needs; nothing imports ray.
"""
