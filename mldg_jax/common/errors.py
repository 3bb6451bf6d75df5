"""The one exception that means "the user's input is wrong"."""


class UserError(Exception):
    """Wrong input: the command line prints the message and exits with status 2.

    The message is one paragraph that names the value, the limit and the fix. Any
    other exception that reaches the command line is our bug (traceback, status 1).
    """
