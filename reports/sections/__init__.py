"""The sections of the report, and the parts that they are made of.

NAME.py has the numbers: `NAME_info` returns what NAME.html gets as `NAME` and what report.json has
under this name, or None if there is nothing to show. Figures are in NAME_figures.py.
`reports.report` says which sections need the numbers of other sections, and gives their order on
the page.
"""
