"""Metrics, and the statistics that say how far to trust them.

Pure functions over numpy arrays; neither torch nor ray is imported here.
"""
