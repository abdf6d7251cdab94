"""The one family of errors that a user meets: what is wrong, where, what was expected, how to mend it."""


class DimoError(Exception):
    """Bad input or an operation that cannot go on. The message is one sentence; the command line exits with 2."""


def first_line(error: Exception) -> str:
    """Of what a library says, to be quoted within a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
