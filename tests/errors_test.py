"""Errors for users: all that this package raises by a name of its own."""

import importlib
import pkgutil

import jaxpriv
from jaxpriv.errors import UserError
from jaxpriv.training import preemption


def test_every_public_error_is_for_users():
  found = {
    value
    for module in pkgutil.walk_packages(jaxpriv.__path__, "jaxpriv.")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, type)
    and issubclass(value, BaseException)
    and value.__module__.startswith("jaxpriv")
    and not value.__name__.startswith("_")
  }
  # A clean stop is no error; programs end with its own status.
  assert len(found) > 6
  assert {e for e in found if not issubclass(e, UserError)} == {
    preemption.Preempted
  }
