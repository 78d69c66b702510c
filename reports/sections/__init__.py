"""The sections of the report, and the parts that they are made of.

NAME.py has the numbers: `NAME_info` gives what NAME.html shows as `NAME` and report.json has under
it, None where there is nothing to show. Figures are in NAME_figures.py. `reports.report` says which
section needs the numbers of which, and in what order they stand on the page.
"""
