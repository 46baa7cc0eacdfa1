"""`python -m pipeline` is `prefloop`."""

from .cli import main

main()
