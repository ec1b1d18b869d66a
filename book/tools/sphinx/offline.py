"""Point the pages to the scripts that book/tools/assets/offline.py gathered, where it could."""

from book.tools.assets import offline as offline_assets


def use_own_scripts(app, config):
    config.nb_ipywidgets_js = {}  # pages hold no widgets
    if not offline_assets.STATIC.is_dir():
        return
    config.html_static_path.append(str(offline_assets.STATIC))
    config.mathjax_path = offline_assets.MATHJAX


def setup(app):
    app.connect("config-inited", use_own_scripts, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
