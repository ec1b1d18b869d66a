"""One script for each result table of the book: ``python -m book.studies.NAME``.

A study whose tables hold no seconds says ``HOURS``, core-hours that were measured, for the README.
"""
