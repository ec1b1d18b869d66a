"""Moving pictures on the built pages: their data and stills in files of their own.

A chapter's output carries both within it (book/tools/moving.py). Here they go to
``_static/moving``, so that a page loads a picture's data only when it comes into view. The data are
a script, as a page that was opened from a file may load nothing else.
"""

import base64
import hashlib
import re
from html import escape
from pathlib import Path

FOLDER = "_static/moving"
DATA = re.compile(r'<script type="application/json" class="moving-data">(.*?)</script>', re.DOTALL)
ALT = re.compile(r'(<img class="moving-still"[^>]* alt=")[^"]*"')
STILL = re.compile(r'(<img class="moving-still") src="data:image/webp;base64,([^"]+)"')


def take_out(body: str, folder: Path, address: str) -> str:
    """A page's body whose pictures' data and stills are files in ``folder``.

    Args:
        body: HTML.
        folder: is made if it is not there.
        address: of the folder as seen from the page, with a slash at its end.
    """

    def write(content: bytes, suffix: str) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{_name(content)}{suffix}").write_bytes(content)
        return f"{address}{_name(content)}{suffix}"

    def data(match: re.Match) -> str:
        name = _name(match[1].encode())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.js").write_text(f'movingData("{name}", {match[1]});\n', "utf-8")
        return f'<span class="moving-data" data-name="{name}" data-src="{address}{name}.js"></span>'

    def still(match: re.Match) -> str:
        return f'{match[1]} loading="lazy" src="{write(base64.b64decode(match[2]), ".webp")}"'

    return STILL.sub(still, DATA.sub(data, body))


def with_alt(html: str, alt: str) -> str:
    """A moving picture's HTML whose still has the alternative text of its cell."""
    words = escape(alt)
    return ALT.sub(lambda match: f'{match[1]}{words}"', html)


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def put_into_files(app, pagename, templatename, context, doctree):
    if 'class="moving"' not in context.get("body", ""):
        return
    address = context["pathto"](f"{FOLDER}/", 1)
    context["body"] = take_out(context["body"], Path(app.outdir, FOLDER), address)
    app.add_js_file("moving.js", loading_method="defer")
    app.add_css_file("moving.css")


def setup(app):
    app.connect("html-page-context", put_into_files, priority=400)  # before the scripts are listed
    return {"parallel_read_safe": True, "parallel_write_safe": True}
