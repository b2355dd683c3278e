"""Flags that say how faces go back into whole photographs."""

from collections.abc import Callable
from typing import Any

from absl import flags

from jaxpriv.data import pasting


def define(when: str = "") -> Callable[[], dict[str, Any]]:
  """Defines --blend, --match, --smallest and --otherwise.

  Args:
    when: begins their help, such as "With --whole: ".

  Returns:
    a function that gives fields of `jaxpriv.training.replacing.Whole`, once
    flags are parsed.
  """
  holders = [
    flags.DEFINE_enum(
      "blend", "feather", pasting.BLENDS, f"{when}How faces are joined."
    ),
    flags.DEFINE_bool(
      "match",
      False,
      f"{when}Give faces the colours and the sharpness of those they cover,"
      " which says something about these.",
    ),
    flags.DEFINE_float(
      "smallest",
      12,
      f"{when}Faces whose crop has fewer pixels on a side are not replaced but"
      " treated as --otherwise says.",
      1,
    ),
    flags.DEFINE_enum(
      "otherwise",
      "blur",
      ("blur", "box", "keep"),
      f"{when}What is done to faces that are too small or whose labels are"
      " wrong.",
    ),
  ]
  return lambda: {holder.name: holder.value for holder in holders}
