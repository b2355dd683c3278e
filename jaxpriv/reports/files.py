"""Writes text files so that a reader never sees half of one."""

import os

from etils import epath


def write_text(path: str | os.PathLike, text: str) -> epath.Path:
  """Writes `text` under a temporary name beside `path`, then renames it."""
  target = epath.Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  temporary = target.with_name(target.name + ".tmp")
  temporary.write_text(text)
  temporary.replace(target)
  return target
