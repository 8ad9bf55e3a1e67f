"""``python -m accelsim``."""

from .cli import main

main()
