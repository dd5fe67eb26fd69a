"""The one error a user can cause and mend."""


class UserError(ValueError):
    """A value that came from the user is wrong.

    The message is one sentence: what is wrong, and how to mend it. The command line prints it and exits with code 2.
    """
