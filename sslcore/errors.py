"""The one exception for people's mistakes.

Whoever raises it says what was given, what was expected and what to do next, in one message that makes sense without a
traceback. The command line prints it and exits with 2; anything else is our fault or the machine's and exits with 1.
"""


class UserError(ValueError):
    """What was asked cannot be done as asked; the message says how to mend it."""


class ContractError(UserError):
    """A table or file does not have the columns, types or values its contract promises."""


class StoreError(UserError):
    """The artefact store cannot be used as it is: unwritable, full, or holding a damaged artefact."""
