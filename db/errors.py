"""The one error of the store."""


class StoreError(Exception):
    """The store refuses: the message says what was wrong, its value and the remedy, and is fit to be shown."""
