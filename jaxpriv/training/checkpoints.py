"""Checkpoints of one phase: Orbax, asynchronous, by step, on any mesh.

Orbax is imported where it is used: programs start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from etils import epath

from jaxpriv.training import mesh as mesh_lib

if TYPE_CHECKING:
  import orbax.checkpoint as ocp


def phase_directory(workdir: epath.PathLike, name: str) -> epath.Path:
  """Where the checkpoints of a phase are in a run directory."""
  return epath.Path(workdir) / "phases" / name


def open_manager(
  directory: epath.PathLike, keep: int = 2
) -> ocp.CheckpointManager:
  """Opens, or makes, the checkpoints of a phase; the last `keep` are kept."""
  import orbax.checkpoint as ocp

  options = ocp.CheckpointManagerOptions(max_to_keep=keep)
  # Orbax wants an absolute path.
  path = epath.Path(directory).absolute()
  manager = ocp.CheckpointManager(path, options=options)
  # Orbax asks JAX too, by the step it saves and in part from a thread, later:
  # processes would agree to stop at a call of ours that is past.
  manager.reached_preemption = lambda step: False
  return manager


def save(manager: ocp.CheckpointManager, step: int, state: Any) -> None:
  """Saves in the background; a step that is already saved is left alone."""
  import orbax.checkpoint as ocp

  if manager.latest_step() != step:
    manager.save(step, args=ocp.args.StandardSave(state), force=True)


def abstract(shapes: Any, mesh: jax.sharding.Mesh) -> Any:
  """Gives a tree of shapes and dtypes the shardings they have on `mesh`."""
  return jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=sharding
    ),
    shapes,
    mesh_lib.infer_shardings(shapes, mesh),
  )


def restore(
  manager: ocp.CheckpointManager, step: int, shapes: Any, mesh: Any
) -> Any:
  """Restores a state of known structure, whatever mesh it was saved on."""
  import orbax.checkpoint as ocp

  target = abstract(shapes, mesh)
  return manager.restore(step, args=ocp.args.StandardRestore(target))


def latest_step(directory: epath.PathLike) -> int | None:
  """The newest saved step below `directory`; None if there is none.

  Read without a checkpoint manager, which would wait for other processes:
  whether the folder is there they may see at different times.
  """
  if not epath.Path(directory).exists():
    return None
  from orbax import checkpoint as ocp

  return max(ocp.utils.checkpoint_steps(directory), default=None)


def load(directory: epath.PathLike, mesh: Any) -> Any:
  """Restores all of a state but its optimizer: enough to predict with.

  Args:
    directory: of one phase, as given to `open_manager`.
    mesh: the mesh to restore on.

  Returns:
    the state without "opt".

  Raises:
    FileNotFoundError: if nothing was saved there.
  """
  import orbax.checkpoint as ocp

  step = latest_step(directory)
  if step is None:
    raise FileNotFoundError(
      f"no checkpoint in {directory}: train this phase first"
    )
  # This handler, unlike the standard one, tells the saved structure.
  with ocp.CheckpointManager(
    epath.Path(directory).absolute(),
    item_handlers=ocp.PyTreeCheckpointHandler(),
  ) as manager:
    saved = manager.item_metadata(step).tree
    target = abstract({k: v for k, v in saved.items() if k != "opt"}, mesh)
    return manager.restore(
      step,
      args=ocp.args.PyTreeRestore(
        target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
      ),
    )
