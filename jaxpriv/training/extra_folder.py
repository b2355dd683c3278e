"""Photographs of a further folder that a run reads once, to show or to use."""

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import memory, sources
from jaxpriv.data.records import DataError
from jaxpriv.training import unlabelled


def read(
  data: ConfigDict,
  setting: str,
  folder: str,
  most: int,
  attributes: tuple[str, ...] = (),
  faces: bool = True,
) -> dict[str, np.ndarray]:
  """The first photographs of a folder, framed as those of a run.

  Args:
    data: config.data of the run.
    setting: which names the folder, for errors.
    folder: its path.
    most: photographs.
    attributes: that are read.
    faces: whether faces are looked for in photographs without labels; those
      are taken as they are otherwise.

  Returns:
    fields of records [N, ...], images uint8.

  Raises:
    DataError: the folder cannot be read, or shows nothing that is looked for.
  """
  data = data.copy_and_resolve_references()
  with data.unlocked():
    data.update(source="folder", path=folder, sets=(), level=1)
    data.update(cache=True, copies="keep", attributes=attributes)
    if not faces:
      data.face_threshold = 0.0
  try:
    # Whoever asks for the shapes of a state traces this: faces are found now.
    with jax.ensure_compile_time_eval():
      source = sources.open_source(data, found=unlabelled.find(data))
  except DataError as error:
    text = str(error).replace("data.path", setting)
    raise DataError(f"{setting} = {folder}: {text}") from error
  arrays = memory.in_memory(source).arrays
  return {name: values[:most] for name, values in arrays.items()}
