"""The workflows: what a command does, and what a notebook calls; one module for each.

A command parses, calls a workflow and prints the result; workflows write their messages to stderr.
They may import everything; the commands and, on first use, `thyroid` itself import them.
"""
