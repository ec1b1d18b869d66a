"""Repository and issue buttons from git's remote ``origin``; without one, no buttons."""

import re
import subprocess

from sphinx.util import logging

HOSTED = re.compile(r"(?:https://|ssh://git@|git@)(github\.com|gitlab\.com)[/:](.+?)(?:\.git)?/?")


def web_address(remote: str) -> str | None:
    """``https://host/owner/name`` of a remote on a known host, however git spells it."""
    match = HOSTED.fullmatch(remote.strip())
    return f"https://{match[1]}/{match[2]}" if match else None


def add_buttons(app, config):
    command = ["git", "-C", app.srcdir, "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True).stdout
    except FileNotFoundError:  # no git here
        remote = ""
    options = config.html_theme_options
    if address := web_address(remote):
        options |= {"repository_url": address, "use_repository_button": True}
        options |= {"use_issues_button": True, "path_to_docs": ""}
    else:
        options.pop("repository_url", None)
        logging.getLogger(__name__).info("no public git remote: no repository buttons")


def setup(app):
    app.connect("config-inited", add_buttons, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
