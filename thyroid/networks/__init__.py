"""The networks: generators, and classifiers, which register themselves.

Pure torch: may import of thyroid only `acquisition`, `errors` and `recipe`; nothing here knows of
data sets, stages or Ray.
"""
