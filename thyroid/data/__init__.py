"""Scintigrams: readers for NM DICOM and pictures, import, the data set on disk, splits, checks.

Imports numpy, pandas, pyarrow, scipy, threadpoolctl, pydicom, Pillow and cryptography, and from
thyroid `errors`, `files`, `machine`, `progress` and `recipe`; never torch or ray.
"""
