"""Metrics, and the statistics that say how far to trust them.

Functions over numpy arrays, and the CSV form of predictions. Only `generators`, for torchmetrics,
and `explanation` import torch; nothing imports ray.
"""
