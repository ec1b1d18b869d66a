"""Write the notebooks of all chapters, or say which are out of step.

    python -m book.tools.notebooks          write book/notebooks/NAME.ipynb for every chapter
    python -m book.tools.notebooks check    exit with status 1 if one of them is out of step

Those that are in step stay as they are.
"""

import sys

from book.tools import notebooks
from book.tools.chapters import ChapterError

if __name__ == "__main__":
    try:
        if sys.argv[1:] != ["check"]:
            notebooks.write()
        elif old := notebooks.out_of_step():
            sys.exit(
                f"out of step with their text: {', '.join(f.name for f in old)}: make notebooks"
            )
    except ChapterError as error:
        sys.exit(str(error))
