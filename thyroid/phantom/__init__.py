"""The simulator of planar Tc-99m thyroid scintigrams: anatomy, pathology, gamma camera, export.

Every image is rendered on its own from its own random numbers. Imports neither torch nor ray.
"""
