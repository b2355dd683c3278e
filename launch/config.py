"""--config of the programs: the file it names, and what is wrong with flags.

--config=NAME:demo            of the package `configs`, from any folder
--config=FOLDER/NAME.py:demo  a file, of one's own perhaps
"""

import difflib
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import sys
import types
from collections.abc import Iterator

from absl import flags
from ml_collections import ConfigDict, config_flags

import configs
from jaxpriv.errors import UserError

HELP = (
  "Config and scale: NAME:demo, or a file, as in configs/NAME.py:demo or one of"
  " your own. Its settings are flags, as in --config.data.path=FOLDER."
)
# Types of flags, in the words of a message.
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def define(
  default: str = "", values: flags.FlagValues = flags.FLAGS
) -> flags.FlagHolder:
  """Defines --config, which is read as the module says."""
  holder = config_flags.DEFINE_config_file(
    "config", None, HELP, flag_values=values, lock_config=True
  )
  values["config"].parser = _Parser(default)
  return holder


def names() -> list[str]:
  """The configs that come with this package."""
  found = (module.name for module in pkgutil.iter_modules(configs.__path__))
  return sorted(name for name in found if name != "common")


def parse(argv: list[str]) -> list[str]:
  """Parses all flags; what is wrong is said in a sentence.

  Raises:
    UserError: a flag or a setting is unknown, or a value is none of its kind.
  """
  parser = flags.FLAGS["config"].parser if "config" in flags.FLAGS else None
  try:
    if isinstance(parser, _Parser) and parser.default:
      flags.FLAGS.set_default("config", parser.default)
    return flags.FLAGS(argv)
  except flags.Error as error:
    raise UserError(_said(" ".join(str(error).split()))) from error


def _said(text: str) -> str:
  """A message of absl in our words."""
  bad = re.match(r"flag (--([^=]+)=.*?): (.*)", text)
  if not bad:
    return text
  given, name, reason = bad.groups()
  known = name in flags.FLAGS
  kind = KINDS.get(flags.FLAGS[name].flag_type()) if known else None
  simple = kind and ("literal" in reason or "convert" in reason)
  if simple or "Non-boolean" in reason:
    return f"{given}: it is {kind or KINDS['bool']}"
  return f"{given}: {reason}"


class _Parser(flags.ArgumentParser):
  """Reads "NAME:argument", checking that all overridden settings exist."""

  def __init__(self, default: str):
    self.default = default  # read late: an error is then said like any other

  def parse(self, argument: str) -> ConfigDict:
    place, colon, rest = argument.partition(":")
    module = _module(place)
    if not hasattr(module, "get_config"):
      raise UserError(f"--config={place} has no function get_config")
    config = module.get_config(*([rest] if colon else []))
    config.lock()
    for name in _overridden():
      _check_name(config, name)
    return config

  def flag_type(self) -> str:
    return "config"


def _module(place: str) -> types.ModuleType:
  if place in names():
    return importlib.import_module(f"configs.{place}")
  path = pathlib.Path(place).expanduser()
  if path.suffix == ".py" and path.is_file():
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
  near = difflib.get_close_matches(path.stem, names(), 1)
  raise UserError(
    f"--config={place}: there is no such config; from any folder there are"
    f" {', '.join(names())}, as in --config={(near or names())[0]}:demo, and"
    " files of your own, as in --config=FOLDER/NAME.py:demo"
  )


def _overridden() -> Iterator[str]:
  """Names of the settings that flags give, as in "data.path"."""
  for argument in flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False):
    found = re.match(r"--?(?:no)?config\.([^=]+)", argument)
    if found:
      yield found[1]


def _check_name(config: ConfigDict, name: str) -> None:
  """Raises UserError if there is no setting of this dotted name."""
  node, parts = config, name.split(".")
  for depth, part in enumerate(parts):
    key = part.split("[")[0]
    if not isinstance(node, ConfigDict) or key not in node:
      near = _nearest(config, name, node, parts[:depth])
      raise UserError(f"--config.{name}: there is no such setting{near}")
    node = node[key]


def _nearest(config, name, node, parents) -> str:
  """Where else to look, as the end of a sentence."""
  siblings = list(node) if isinstance(node, ConfigDict) else []
  own = ".".join(parents)
  wanted = name.removeprefix(f"{own}.").split(".")[0]
  near = difflib.get_close_matches(wanted, siblings, 1)
  if near:
    return f"; did you mean --config.{'.'.join([*parents, *near])}?"
  last = name.split(".")[-1]
  every = list(_names(config))
  same = [n for n in every if n.split(".")[-1] == last]
  near = same[:1] or difflib.get_close_matches(name, every, 1)
  if near:
    return f"; did you mean --config.{near[0]}?"
  return (
    f"; config.{own} has {', '.join(siblings) or 'none'}"
    if own
    else (f"; there are {', '.join(siblings)}")
  )


def _names(config: ConfigDict, before: str = "") -> Iterator[str]:
  for key, value in config.items():
    yield f"{before}{key}"
    if isinstance(value, ConfigDict):
      yield from _names(value, f"{before}{key}.")
