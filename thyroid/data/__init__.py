"""Scintigrams: readers for NM DICOM and pictures, import, the data set on disk, splits, quality.

May import numpy, pandas, scipy, threadpoolctl, pydicom and Pillow, and of thyroid `errors`,
`files`, `machine`, `progress` and `recipe`; never torch or ray.
"""
