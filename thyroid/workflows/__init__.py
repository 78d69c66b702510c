"""The workflows: what a command does, and what a notebook calls; one module for each.

A command parses, calls one of these and prints; whatever they say on the way goes to stderr. They
may import everything, and are imported by the commands and, on first use, by `thyroid` itself.
"""
