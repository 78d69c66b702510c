"""Pages that a reader opens: the report of a run and the inspection of a data set.

Functions that compute numbers (`*_info`, tested) are separate from those that draw them. Nothing
here imports torch or ray.
"""
