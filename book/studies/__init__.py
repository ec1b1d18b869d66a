"""One script for each result table of the book: ``python -m book.studies.NAME``."""
