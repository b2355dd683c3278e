"""Files that a reader never sees half of."""

import os

from etils import epath


def atomic_write(
  path: epath.PathLike, data: bytes | str, mode: int | None = None
) -> epath.Path:
  """Writes a file under a temporary name beside `path`, then renames it.

  Args:
    path: local or gs://; folders that are missing are made.
    data: the contents; text is written as UTF-8.
    mode: permissions, set before anything is written. Buckets have none.

  Returns:
    the path.
  """
  target = epath.Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  partial = target.with_name(target.name + ".partial")
  if mode is not None:
    partial.touch()
    if os.path.exists(partial):  # where it is a file of this machine
      os.chmod(partial, mode)
  partial.write_bytes(data.encode() if isinstance(data, str) else data)
  partial.replace(target)
  return target


def expanded(path: epath.PathLike) -> str:
  """The path with ~ written out as the home folder; "" and gs:// stay."""
  return os.path.expanduser(os.fspath(path))
