"""Executing stages on Ray and searching with Ray Tune: the only package that imports ray.

Trial drivers import no torch; what a stage computes is in `thyroid.stages`.
"""
