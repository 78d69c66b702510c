"""What is trained or made, each a pure generator: fit(config, inputs, folder) yields metrics.

Stages know torch and files, nothing of Ray, keys or the command line.
"""
