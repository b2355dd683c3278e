"""The base of errors that are for whoever runs a program."""


class UserError(Exception):
  """Its message says what is wrong and what to do.

  Programs print "error: ..." and end with status 1, without a traceback.
  """


class SettingError(UserError, ValueError):
  """A setting of the config will not do; the message names it."""
