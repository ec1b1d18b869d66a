"""``python -m scorerep``, the same as the command ``scorerep``."""

from scorerep.runs.cli import main

main()
