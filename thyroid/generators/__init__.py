"""Generators of scintigrams beside the DCGAN, each one file: `--generator NAME`.

A module has `fit(counts, findings)`, which gives tensors, and `draw(tensors, findings, random)`,
which gives activities; see `eigen`. They see tensors of training images and nothing else: they may
import torch and `thyroid.acquisition`; never data, stages, files or ray.
"""
