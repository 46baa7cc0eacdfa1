"""Errors meant for the user: the command line prints their text and exits with status 1."""


class PrefloopError(Exception):
    """Something the user can mend. The text names what was wrong, its value and the remedy."""
