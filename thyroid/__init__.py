"""Search platform for diagnosing thyroid scintigrams from few labelled examples.

Not for clinical use.
"""

__version__ = "0.1.0"
