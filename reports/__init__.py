"""Pages that a reader opens: the report of a run and the inspection of a data set.

Numbers first (`*_info` functions, `info` of a section; tested), drawing second. Neither torch nor
ray is imported here.
"""
