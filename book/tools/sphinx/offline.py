"""Point the pages to the scripts that book/tools/assets/offline.py gathered, where it could.

The themes' source maps, which serve debugging the themes and nothing else, are left out.
"""

from pathlib import Path

from book.tools.assets import offline as offline_assets


def use_own_scripts(app, config):
    config.nb_ipywidgets_js = {}  # pages hold no widgets
    if not offline_assets.STATIC.is_dir():
        return
    config.html_static_path.append(str(offline_assets.STATIC))
    config.mathjax_path = offline_assets.MATHJAX


def leave_out_source_maps(app, exception):
    for file in Path(app.outdir, "_static").rglob("*.map"):
        file.unlink()


def setup(app):
    app.connect("config-inited", use_own_scripts, priority=100)
    app.connect("build-finished", leave_out_source_maps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
