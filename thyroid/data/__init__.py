"""Scintigrams: readers for NM DICOM and pictures, import, the data set on disk, splits, quality.

May import numpy, pandas, scipy, pydicom and Pillow; never torch, ray, or another part of thyroid.
"""
