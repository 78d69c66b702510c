"""The commands, one per file: a function whose signature is its options.

Each imports torch, ray or pandas only when it runs, so that its --help answers at once.
"""
