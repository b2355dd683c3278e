"""Files that a reader never sees half of."""

import contextlib
import os
from collections.abc import Iterator

from etils import epath


@contextlib.contextmanager
def named(path: epath.PathLike) -> Iterator[None]:
  """Has errors of the system name a file: those of writing do not."""
  try:
    yield
  except OSError as error:
    if error.filename is None:
      error.filename = os.fspath(path)
    raise


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

  Raises:
    OSError: it cannot be written; `filename` says which.
  """
  target = epath.Path(path)
  partial = target.with_name(target.name + ".partial")
  with named(target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode is not None:
      partial.touch()
      if os.path.exists(partial):  # where it is a file of this machine
        os.chmod(partial, mode)
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    partial.replace(target)
  return target
