"""The stages, each a pure generator: fit(config, inputs, folder) yields metrics.

Stages know torch and files; they may not import Ray, the store, runs or the command line.
"""
