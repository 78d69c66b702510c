"""Metrics, their confidence intervals and significance tests, and quality of generated images.

Pure functions over numpy arrays. Only `generator_quality`, for torchmetrics, and `occlusion` import
torch; nothing imports ray.
"""
