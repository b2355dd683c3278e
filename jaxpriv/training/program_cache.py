"""Compiled programs, kept in the user's cache folder for later runs.

On a CPU a program is of the machine's instructions: machines that share a home
folder, and differ in them, have folders of their own. A program may hold
numbers of a config, its secret among them: nobody else may read the folder.
"""

import hashlib
import pathlib
import platform

import jax
from absl import logging

from jaxpriv.data import pretrained

# Bytes from which on the programs that were not used for longest are deleted,
# down to half of it.
MOST = 4 * 2**30
_PROCESSOR = pathlib.Path("/proc/cpuinfo")


def keep() -> pathlib.Path | None:
  """Has JAX keep the programs that it compiles, and take those it has kept.

  JAX_COMPILATION_CACHE_DIR names another folder, and
  JAX_ENABLE_COMPILATION_CACHE=false none. Where the folder cannot be written
  to, programs are compiled each time, which the log says.

  Returns:
    the folder; None if it is another one, or none.
  """
  if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
    return None
  if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
    return None
  folder = pretrained.cache_folder() / "programs" / instructions()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _tidy(folder)
  except OSError as error:
    logging.warning(
      "Compiled programs are not kept: %s: %s", folder, error.strerror
    )
    return None
  jax.config.update("jax_compilation_cache_dir", str(folder))
  return folder


def instructions(table: pathlib.Path = _PROCESSOR) -> str:
  """A name for what instructions this machine's processor has."""
  try:
    lines = table.read_text().splitlines()
  except OSError:  # another system than Linux
    lines = []
  names = ("flags", "Features")  # on x86 and on ARM
  said = next((line for line in lines if line.startswith(names)), "")
  text = f"{platform.machine()} {platform.processor()} {said}"
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tidy(folder: pathlib.Path) -> None:
  """Deletes programs that were not used for longest, if there are too many."""
  found = []
  for path in folder.iterdir():
    try:
      state = path.stat()
    except FileNotFoundError:  # another process tidies, too
      continue
    used = max(state.st_atime, state.st_mtime)
    found.append((used, state.st_size, path))
  total = sum(size for _, size, _ in found)
  if total <= MOST:
    return
  for _, size, path in sorted(found):
    path.unlink(missing_ok=True)
    total -= size
    if total <= MOST / 2:
      return
