"""Sections of the report that stand by themselves: each a module, with its template beside it.

A module NAME has its `TITLE`, marked with `later`, the section that it comes `AFTER`, and
`info(run)`: the numbers that NAME.html shows as `NAME` and report.json has under it, None where
there is nothing to show. Where it has `pictures(run)`, the template sees them as `pictures.NAME`.
Both are found here and entered nowhere; those after the same section stand there by name. Only
`reports.report` may import a section.
"""
