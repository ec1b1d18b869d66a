"""What tests of the book share: one test's Sphinx never speaks in another's."""

import logging

import pytest


@pytest.fixture(autouse=True, scope="module")
def sphinx_logger():
    """Sphinx's own log handlers outlive its application: one that was told that a warning is an
    error would raise in whatever test the same process runs next.
    """
    yield
    logging.getLogger("sphinx").handlers.clear()
