"""One run, as a worker starts it: ``python -m scorerep.runs.queue MODULE FOLDER NAME NICE``."""

import sys

from scorerep.runs.queue.one_run import main

sys.exit(main(*sys.argv[1:]))
