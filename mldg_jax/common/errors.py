"""The exception for wrong user input."""


class UserError(Exception):
    """Wrong input: the command line prints the message and exits with status 2.

    The message is one paragraph that names the value, the limit and the fix. Any other
    exception that reaches the command line is a bug in this package (traceback, exit
    status 1).
    """
