"""Photographs of a further folder that a run reads once, to show or to use.

`check` reads them before anything is traced, since processes tell each other
what they find; `read` gives what was read.
"""

import concurrent.futures
import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from jaxpriv.data import folder as folder_lib
from jaxpriv.data import memory, sources, tree
from jaxpriv.data.records import DataError
from jaxpriv.training import unlabelled


class Extra(NamedTuple):
  """A folder to be read, and how its photographs are framed.

  Attributes:
    data: config.data of the run.
    setting: which names the folder, for errors.
    folder: its path.
    most: photographs, and faces in them, that it may hold.
    attributes: that are read.
    faces: whether faces are looked for in photographs without labels; those
      are taken as they are otherwise.
  """

  data: ConfigDict
  setting: str
  folder: str
  most: int
  attributes: tuple[str, ...] = ()
  faces: bool = True


def check(extra: Extra) -> None:
  """Reads the photographs, the same in all processes, and keeps them.

  Raises:
    DataError: they cannot be read, or are too many, or processes read others.
  """
  arrays = read(extra)
  if jax.process_count() == 1:
    return
  digest = hashlib.blake2b(digest_size=8)
  for name in sorted(arrays):
    digest.update(np.ascontiguousarray(arrays[name]).tobytes())
  own = np.frombuffer(digest.digest(), np.uint32)
  if len(np.unique(multihost_utils.process_allgather(own), axis=0)) > 1:
    raise DataError(
      f"{extra.setting} = {extra.folder}: processes read other photographs"
      " there. Give a folder that is the same for all of them"
    )


def read(extra: Extra) -> dict[str, np.ndarray]:
  """The photographs, framed as those of a run.

  Returns:
    fields of records [N, ...], images uint8.

  Raises:
    DataError: they cannot be read, or are too many, or show nothing that is
      looked for.
  """
  data = extra.data.copy_and_resolve_references()
  with data.unlocked():
    data.update(source="folder", path=extra.folder, sets=(), level=1)
    data.update(cache=True, copies="keep", attributes=extra.attributes)
    if not extra.faces:
      data.face_threshold = 0.0
  try:
    place = folder_lib.existing(extra.folder)
    _few(extra.most, "photographs", len(tree.walk(place).photographs))
    arrays = _read(json.dumps(data.to_dict(), sort_keys=True))
    _few(extra.most, "faces", len(arrays["image"]))
    return arrays
  except DataError as error:
    text = str(error).replace("data.path", extra.setting)
    raise DataError(f"{extra.setting} = {extra.folder}: {text}") from error


def _few(most: int, kind: str, count: int) -> None:
  if count > most:
    raise DataError(
      f"it has {count:,} {kind}, and config.model.most = {most}: choose some of"
      " them, as launch.curate does, or raise that"
    )


@functools.lru_cache(maxsize=2)
def _read(described: str) -> dict[str, np.ndarray]:
  data = ConfigDict(json.loads(described))
  source = aside(lambda: sources.open_source(data, found=unlabelled.find(data)))
  return memory.in_memory(source).arrays


def aside(compute: Callable[[], Any]) -> Any:
  """compute(), as if nothing was traced and no mesh was set.

  A state is traced to know its shapes, and compiled for machines that are not
  here; what is read of files is computed at once, and here. Both are known to
  a thread alone, so that another one knows of neither.
  """
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    return thread.submit(compute).result()
