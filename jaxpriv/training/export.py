"""A trained model as one file of arrays, which NumPy reads by itself.

Names are "phase/params/path/of/a/parameter" and, of networks with BatchNorm,
"phase/batch_stats/..."; and "phase/name" of phases that found something other
than parameters, such as a mask.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxpriv import files
from jaxpriv.training import builders
from jaxpriv.training import mesh as mesh_lib


def write(path: epath.PathLike, states: Mapping[str, Any]) -> dict[str, Any]:
  """Writes what states predict with: averaged parameters, where they have them.

  Args:
    path: of an .npz file.
    states: phase -> finished state. One without parameters is written whole:
      a phase whose state holds photographs must not be among them.

  Returns:
    name -> array, as written.
  """
  trained = {
    name: builders.variables(state) if "params" in state else state
    for name, state in states.items()
    if state
  }
  flat = flatten_dict(mesh_lib.fetch(trained), sep="/")
  arrays = {name: np.asarray(value) for name, value in flat.items()}
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)  # type: ignore[arg-type]
  files.atomic_write(path, buffer.getvalue())
  return arrays


def read(path: epath.PathLike) -> dict[str, Any]:
  """Phase -> state, as `predict` functions take it, from `write`.

  Raises:
    DamagedError: it is no such file.
  """
  again = "get it again from whoever released it"
  try:
    states = unflatten_dict(files.read_npz(path, again), sep="/")
  except (TypeError, AttributeError) as error:  # an array named as a folder
    raise files.DamagedError(f"{path} is damaged ({error}): {again}") from error
  return {k: {"batch_stats": {}, **state} for k, state in states.items()}
