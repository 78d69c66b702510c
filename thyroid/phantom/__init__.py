"""The simulator of planar Tc-99m thyroid scintigrams: anatomy, pathology, gamma camera, files.

Each image is rendered by itself from its own random numbers. Imports neither torch nor ray.
"""
