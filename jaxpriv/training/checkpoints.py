"""Checkpoints of one phase: Orbax, asynchronous, by step, on any mesh.

Beside the files of a step lie their checksums (`CHECKSUMS`), written once the
step is complete. A step that differs from them is damaged, and never used: the
newest intact one is. Steps without them, of runs of earlier versions or killed
just after saving, are taken as they are.

Orbax is imported where it is used: programs start without it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from jaxpriv import files
from jaxpriv.errors import UserError
from jaxpriv.training import mesh as mesh_lib

# In the folder of a step: name of each other file -> [bytes, hash].
CHECKSUMS = "checksums.json"

# Added to the name of a damaged step's folder, once the run goes on from an
# earlier step.
DAMAGED = ".damaged"


class CheckpointError(UserError):
  """Checkpoints cannot be read, or not be written."""


class Manager:
  """The open checkpoints of a phase; leaving its context waits for them."""

  def __init__(self, directory: epath.PathLike, keep: int):
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep, cleanup_tmp_directories=True
    )
    # Orbax wants an absolute path.
    self.directory = epath.Path(directory).absolute()
    self._orbax = ocp.CheckpointManager(self.directory, options=options)
    # Orbax asks JAX too, by the step it saves and in part from a thread, later:
    # processes would agree to stop at a call of ours that is past.
    self._orbax.reached_preemption = lambda step: False
    self._threads = concurrent.futures.ThreadPoolExecutor(1)
    self._sealing: concurrent.futures.Future | None = None

  def __enter__(self) -> Manager:
    return self

  def __exit__(self, *error: Any) -> None:
    try:
      self.wait()
    finally:
      self._threads.shutdown()
      with self._explained():
        self._orbax.close()

  def latest_step(self) -> int | None:
    return self._orbax.latest_step()

  def save(self, step: int, state: Any) -> None:
    """Saves in the background; a step that is already saved is left alone.

    Raises:
      CheckpointError: it fails, or the save before has failed.
    """
    import orbax.checkpoint as ocp

    if self.latest_step() == step:
      return
    self.wait()
    with self._explained():
      self._orbax.save(step, args=ocp.args.StandardSave(state), force=True)
    if jax.process_index() == 0:
      self._sealing = self._threads.submit(self._seal, step)

  def wait(self) -> None:
    """Waits until what was saved is complete.

    Raises:
      CheckpointError: it could not be saved; earlier steps are as they were.
    """
    with self._explained():
      self._orbax.wait_until_finished()
      if self._sealing:
        self._sealing.result()

  def _seal(self, step: int) -> None:
    # The first process ends last: when all have written.
    self._orbax.wait_until_finished()
    _write_checksums(self.directory / str(step))

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # Orbax and TensorStore raise all kinds
      last = max(_saved(self.directory), default=None)
      rest = "nothing was saved before"
      if last is not None:
        rest = f"step {last} is kept, from which the same command goes on"
      raise CheckpointError(
        f"{self.directory}: saving failed ({_first_line(error)}); {rest}"
      ) from error


def phase_directory(workdir: epath.PathLike, name: str) -> epath.Path:
  """Where the checkpoints of a phase are in a run directory."""
  return epath.Path(workdir) / "phases" / name


def open_manager(directory: epath.PathLike, keep: int = 2) -> Manager:
  """Opens, or makes, the checkpoints of a phase; the last `keep` are kept."""
  return Manager(directory, keep)


def save(manager: Manager, step: int, state: Any) -> None:
  """See `Manager.save`."""
  manager.save(step, state)


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
  directory: epath.PathLike, step: int, shapes: Any, mesh: Any
) -> Any:
  """Restores a state of known structure, whatever mesh it was saved on.

  Raises:
    CheckpointError: it cannot be read.
  """
  import orbax.checkpoint as ocp

  target = abstract(shapes, mesh)
  path = epath.Path(directory).absolute()
  with _readable(path, step), ocp.CheckpointManager(path) as manager:
    return manager.restore(step, args=ocp.args.StandardRestore(target))


def latest_step(
  directory: epath.PathLike, below: int | None = None
) -> int | None:
  """The newest intact step below `directory`; None if nothing is saved there.

  Read without a checkpoint manager, which would wait for other processes:
  whether the folder is there they may see at different times.

  Args:
    directory: of one phase.
    below: of the steps before this one, if there is an intact one.

  Raises:
    CheckpointError: there are steps and all are damaged.
  """
  faults = []
  for step in sorted(_saved(directory), reverse=True):
    if below is not None and step >= below:
      continue
    fault = _fault(epath.Path(directory) / str(step))
    if not fault:
      return step
    faults.append(fault)
  if faults and below is None:
    raise CheckpointError(
      f"no checkpoint in {directory} is intact: {'; '.join(faults)}. Bring the"
      " files back, or remove the folder to train this phase anew"
    )
  return None


def load(directory: epath.PathLike, mesh: Any) -> Any:
  """Restores all of a state but its optimizer: enough to predict with.

  Args:
    directory: of one phase, as given to `open_manager`.
    mesh: the mesh to restore on.

  Returns:
    the state of the newest intact step without "opt".

  Raises:
    FileNotFoundError: if nothing was saved there.
    CheckpointError: it cannot be read.
  """
  import orbax.checkpoint as ocp

  step = latest_step(directory)
  if step is None:
    raise FileNotFoundError(
      f"no checkpoint in {directory}: train this phase first"
    )
  path = epath.Path(directory).absolute()
  # This handler, unlike the standard one, tells the saved structure.
  handler = ocp.PyTreeCheckpointHandler()
  with (
    _readable(path, step),
    ocp.CheckpointManager(path, item_handlers=handler) as manager,
  ):
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


def set_aside(directory: epath.PathLike, step: int) -> None:
  """Renames what is later than `step`, the one that a run goes on from.

  All of it is damaged; under its name a new step could not be saved. To be
  called by all processes, when each of them knows its step.
  """
  place = epath.Path(directory)
  late = [n for n in _saved(place) if n > step]
  multihost_utils.sync_global_devices("damaged steps seen")
  if jax.process_index() == 0:
    for number in late:
      aside = place / f"{number}{DAMAGED}"
      if aside.exists():
        aside.rmtree()
      (place / str(number)).rename(aside)
      logging.warning("%s is now %s", place / str(number), aside)
  multihost_utils.sync_global_devices("damaged steps set aside")


def check_room(
  workdir: epath.PathLike, states: Mapping[str, Any], keep: int
) -> None:
  """Checks that the disk has room for all checkpoints that are kept.

  One more than `keep` is there while one is saved. Buckets have room.

  Args:
    workdir: the run directory.
    states: phase -> its state, or the shapes of it, of phases still to train.
    keep: checkpoints of each that are kept.

  Raises:
    CheckpointError: it has less.
  """
  if files.in_bucket(workdir):
    return
  place = epath.Path(workdir).absolute()
  while not place.exists():
    place = place.parent
  needed, spare = 0, 0
  listed = []
  for name, state in states.items():
    size = sum(_bytes(leaf) for leaf in jax.tree.leaves(state))
    directory = phase_directory(workdir, name)
    more = keep - min(len(_saved(directory)), keep)
    needed += size * more
    spare = max(spare, size)  # only one is being saved at a time
    listed.append(f"{name} {_megabytes(size)}")
  free = shutil.disk_usage(place).free
  if free < needed + spare:
    raise CheckpointError(
      f"{workdir}: checkpoints will need {_megabytes(needed + spare)}, and"
      f" {_megabytes(free)} are free there: make room, lower config.train.keep"
      f" = {keep}, or use another --workdir. One of each phase takes"
      f" {', '.join(listed)}."
    )


def _bytes(leaf: Any) -> int:
  """Bytes of an array or of a shape; keys hold two words."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return 8 * leaf.size
  return leaf.size * leaf.dtype.itemsize


def _megabytes(size: int) -> str:
  return f"{size / 1e6:,.1f} MB"


def _saved(directory: epath.PathLike) -> list[int]:
  """All steps that were saved below `directory`, damaged ones too."""
  if not epath.Path(directory).exists():
    return []
  from orbax import checkpoint as ocp

  return ocp.utils.checkpoint_steps(directory)


@contextlib.contextmanager
def _readable(directory: epath.Path, step: int) -> Iterator[None]:
  """Has errors say which step cannot be read."""
  try:
    yield
  except Exception as error:  # Orbax and TensorStore raise all kinds
    fault = _first_line(error)
    raise CheckpointError(
      f"{directory / str(step)} cannot be read ({fault}): "
      + (
        "it was trained with other settings, or by another version of jaxpriv"
        if "Requested shape" in fault
        else "if it is damaged, remove it, and the same training goes on from"
        " the step before"
      )
    ) from error


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0][:300] if lines else type(error).__name__


def _write_checksums(step: epath.Path) -> None:
  """Writes how long the files of a step are, and hashes of them."""
  with concurrent.futures.ThreadPoolExecutor() as threads:
    found = dict(threads.map(_checksum, *zip(*_files(step).items())))
  files.atomic_write(step / CHECKSUMS, json.dumps(found, indent=1) + "\n")


def _files(step: epath.Path) -> dict[str, epath.Path]:
  """The files of a step by name, but for its checksums."""
  named = {path.relative_to(step).as_posix(): path for path in _below(step)}
  return {k: named[k] for k in sorted(named) if not k.startswith(CHECKSUMS)}


def _below(folder: epath.Path) -> Iterator[epath.Path]:
  for path in folder.iterdir():
    if path.is_dir():
      yield from _below(path)
    else:
      yield path


def _checksum(name: str, path: epath.Path) -> tuple[str, list]:
  with path.open("rb") as stream:
    digest = hashlib.file_digest(
      stream, lambda: hashlib.blake2b(digest_size=16)
    )
  return name, [path.stat().length, digest.hexdigest()]


def _fault(step: epath.Path) -> str:
  """Says why a saved step is damaged; "" if it is intact."""
  stats = {str(path): path.stat() for path in _below(step)}
  stamp = [(name, stats[name].length, stats[name].mtime) for name in stats]
  return _compared(str(step), tuple(sorted(stamp)))


@functools.lru_cache(maxsize=256)
def _compared(path: str, stamp: tuple) -> str:
  """Compares what did not change meanwhile, and says what is wrong, once."""
  del stamp
  step = epath.Path(path)
  fault = _difference(step)
  if fault:
    logging.warning("%s is damaged and not used: %s", step, fault)
  return fault


def _difference(step: epath.Path) -> str:
  found = _files(step)
  if not found:
    return f"{step} is empty"
  if not (step / CHECKSUMS).exists():
    return ""
  try:
    saved = files.read_json(step / CHECKSUMS)
    sizes = {name: int(size) for name, (size, _) in saved.items()}
  except (ValueError, TypeError):
    return f"{step / CHECKSUMS} is damaged"
  for name, size in sizes.items():
    if name not in found:
      return f"{step / name} is missing"
    length = found[name].stat().length
    if length != size:
      return f"{step / name} has {length} bytes of {size}"
  with concurrent.futures.ThreadPoolExecutor() as threads:
    now = threads.map(_checksum, saved, [found[name] for name in saved])
    for name, checksum in now:
      if checksum != saved[name]:
        return f"{step / name} is not what was saved"
  return ""
