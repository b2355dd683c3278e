"""Reads pictures by the networks of a run: a recogniser, or any layer.

A layer is named PHASE/PATH, its path being that of the module among the
parameters, as in "retinaface/trunk/block_13"; in a game of several networks the
path begins with the name of one. What a layer says of a picture is averaged
over places.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import alignment
from jaxpriv.data.records import DataError, record
from jaxpriv.training import (
  activations,
  inference,
  mechanism,
  run,
  witnesses,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.associations import Reader
from jaxpriv.training.method import Phase, Predict, need


def reader_of_run(
  workdir: epath.PathLike,
  mesh: jax.sharding.Mesh,
  layer: str = "",
  seed: int | None = None,
) -> Reader:
  """A reader by a network of a run, of pictures framed as the run frames them.

  Args:
    workdir: of the run.
    mesh: the mesh.
    layer: whose outputs, averaged over places, are embeddings, as in
      "retinaface/trunk/2"; "": of the last phase that recognises people.
    seed: parameters are drawn by it, instead of those that were trained; None:
      these.

  Raises:
    DataError: it has no such layer, or recognises nobody.
    FileNotFoundError: it is not trained to its end.
  """
  config = workdir_lib.load_config(workdir)
  phases = tuple(mechanism.phases(config))
  side, align = config.data.image_size, config.data.align
  phase, fn, name = _chosen(workdir, config, phases, layer)
  needed = [p for p in phases if p is phase or p.name in phase.needs]
  if seed is None:
    states = run.load_phases(needed, config, workdir, mesh)
  else:
    states = _untrained(needed, _blank(config), seed, mesh)
  bound = fn, states[phase.name], {n: states[n] for n in phase.needs}

  def embed(pixels):
    def batches():
      for start in range(0, len(pixels), witnesses.BATCH):
        image = pixels[start : start + witnesses.BATCH]
        batch = _blank(config)
        batch["image"][: len(image)] = image
        batch["padding"] = np.arange(witnesses.BATCH) >= len(image)
        yield batch

    return inference.predict(*bound, batches(), mesh)

  framed = align in alignment.OF_FACES
  template = alignment.template(side, align) if framed else None
  return Reader(name, side, template, embed)


def _chosen(
  workdir: epath.PathLike,
  config: ConfigDict,
  phases: tuple[Phase, ...],
  layer: str,
) -> tuple[Phase, Predict, str]:
  """(phase, function that embeds, name) of a layer or of a recogniser."""
  if not layer:
    found = mechanism.Trained(phases, {}).phase_with("embed")
    if found is None:
      raise DataError(
        f"no phase of {workdir} recognises people"
        f" ({', '.join(p.name for p in phases)}): give --network, or a --layer:"
        f" {_listed(_layers(config, phases))}"
      )
    return found, need(found.method.outputs.embed, "embed"), found.name
  names = _layers(config, phases)
  if layer not in names:
    raise DataError(
      f"--layer: there is no layer {layer!r} in {workdir}; there are"
      f" {_listed(names, layer)}"
    )
  phase = names[layer]
  own = layer.removeprefix(f"{phase.name}/")
  layers = need(phase.method.layers, "layers")
  fn = lambda state, frozen, batch: activations.pooled(
    layers(state, frozen, batch)[own]
  )
  return phase, fn, layer


def _layers(config: ConfigDict, phases: Sequence[Phase]) -> dict[str, Phase]:
  """Layers by name, of phases whose networks read pictures alone."""
  found: dict[str, Phase] = {}
  shapes: dict[str, Any] = {}
  for phase in phases:
    frozen = {name: shapes.get(name) for name in phase.needs}

    def both(key, batch, frozen, phase=phase):
      state = phase.method.init(key, batch, frozen)
      layers = phase.method.layers
      return state, layers(state, frozen, batch) if layers else {}

    batch = inference.as_float(jax.tree.map(jnp.asarray, _blank(config)))
    try:
      shapes[phase.name], layers = jax.eval_shape(
        both, jax.random.key(0), batch, frozen
      )
    except (KeyError, TypeError, AttributeError):
      continue  # it reads what a picture has not, such as features
    found |= {f"{phase.name}/{layer}": phase for layer in sorted(layers)}
  return found


def _listed(names: Iterable[str], start: str = "") -> str:
  """The layers whose names begin so, or else all, but for parts of others."""
  known = set(names)
  inside = [name for name in known if start and name.startswith(f"{start}/")]
  above = lambda name: {name[:i] for i, c in enumerate(name) if c == "/"}
  outer = inside or [name for name in known if not above(name) & known]
  return f"{', '.join(sorted(outer)) or 'none'}, and parts of these"


def _untrained(phases, batch, seed: int, mesh) -> dict[str, Any]:
  """States of phases before their first step."""
  states: dict[str, Any] = {}
  for i, phase in enumerate(phases):
    frozen = {name: states[name] for name in phase.needs}

    def init(key, batch, frozen, phase=phase):
      return phase.method.init(key, inference.as_float(batch), frozen)

    key = jax.random.fold_in(jax.random.key(seed), i)
    with jax.set_mesh(mesh):
      start = mesh_lib.jit(init, mesh, out_shardings=mesh_lib.replicated(mesh))
      states[phase.name] = start(key, mesh_lib.put_batch(batch, mesh), frozen)
  return states


def _blank(config: ConfigDict) -> dict[str, np.ndarray]:
  """A batch of black pictures of which nothing else is known."""
  side, count = config.data.image_size, witnesses.BATCH
  attributes = (-1,) * len(config.data.attributes)
  one = record(np.zeros((side, side, 3), np.uint8), attributes=attributes)
  batch = {name: np.stack([value] * count) for name, value in one.items()}
  return {
    **batch,
    "index": np.arange(count),
    "padding": np.zeros(count, bool),
  }
