"""Neural networks: DCGAN, SRGAN, and classifiers, which register themselves.

Pure torch: may import of thyroid only `acquisition`, `errors` and `recipe`; never data sets, stages
or Ray.
"""
