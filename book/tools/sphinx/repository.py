"""Repository, issue and Colab buttons from the repository's address; without one, no buttons.

The address is ``repository.url`` of _config.yml or, where that is empty, git's remote ``origin``.
"""

import re
import shutil
import subprocess
from pathlib import Path

from sphinx.util import logging

HOSTED = re.compile(r"(?:https://|ssh://git@|git@)(github\.com|gitlab\.com)[/:](.+?)(?:\.git)?/?")


def web_address(remote: str) -> str | None:
    """``https://host/owner/name`` of a remote on a known host, however git spells it."""
    match = HOSTED.fullmatch(remote.strip())
    return f"https://{match[1]}/{match[2]}" if match else None


def remote_address(folder: str | Path) -> str | None:
    """The web address of git's remote ``origin``, if it has one on a known host."""
    command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
    try:
        return web_address(subprocess.run(command, capture_output=True, text=True).stdout)
    except FileNotFoundError:  # no git here
        return None


def add_buttons(app, config):
    options = config.html_theme_options
    if address := options.get("repository_url") or remote_address(app.srcdir):
        options |= {"repository_url": address, "use_repository_button": True}
        options |= {"use_issues_button": True, "path_to_docs": ""}
        if address.startswith("https://github.com/"):  # the only host that Colab opens
            colab = {"colab_url": "https://colab.research.google.com"}
            options["launch_buttons"] = {**options.get("launch_buttons", {}), **colab}
    else:
        options.pop("repository_url", None)
        logging.getLogger(__name__).info("no public git remote: no repository buttons")


def lead_to_notebooks(app, pagename, templatename, context, doctree):
    """Colab opens book/notebooks/NAME.ipynb; the theme looks for it beside the page."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []) if isinstance(group, dict) else []:
            if "colab.research.google.com" in button.get("url", ""):
                start, _, name = button["url"].rpartition("/book/")
                button["url"] = f"{start}/book/notebooks/{name.rpartition('.')[0]}.ipynb"


def ship_notebooks(app, error):
    """The download button gives the notebook that runs anywhere, not the text source."""
    for file in (Path(app.srcdir) / "book/notebooks").glob("*.ipynb"):
        shown = Path(app.outdir) / "_sources" / "book" / file.name
        if shown.exists():
            shutil.copyfile(file, shown)


def setup(app):
    app.connect("config-inited", add_buttons, priority=100)
    app.connect("html-page-context", lead_to_notebooks, priority=900)
    app.connect("build-finished", ship_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
