"""Metrics, and the statistics that say how far to trust them.

Functions over numpy arrays, and the CSV form of predictions; neither torch nor ray is imported.
"""
