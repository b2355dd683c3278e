"""The device mesh: one axis, `data`, and shardings by need.

XLA compiles some convolutions on meshes of two axes, and per-example
convolution gradients outside `shard_map`, to silently wrong numbers. Hence one
axis, the batch sharded by its first dimension, and parameters by shape where
memory asks for it.
"""

import ctypes
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpriv.training import program_cache

DATA = "data"
# The part of a state that clients keep: arrays [C, ...] of C clients.
CLIENTS = "clients"

# Leaves below this size are replicated: gathering one takes as long as the
# messages take to arrive, however small it is.
MIN_SHARDED_BYTES = 2**20
# The state of a phase may take so much of a device's memory without being
# sharded: the rest is for gradients, activations, and the states it needs.
STATE_SHARE = 0.25
# Memory of one device, by how its `device_kind` begins. The devices of a CPU
# share its memory, so that each counts little.
_GIGABYTES = {
  "NVIDIA A100": 40,
  "NVIDIA H100": 80,
  "NVIDIA H200": 141,
  "TPU v5": 95,
  "TPU v5 lite": 16,
  "TPU v6 lite": 32,
  "cpu": 4,
}
UNKNOWN_MEMORY = 16e9

# More devices than this leave too few rows of a batch to each.
MAX_CPU_DEVICES = 8

# Linux tells a container its limits here.
CGROUP = pathlib.Path("/sys/fs/cgroup")

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def make_mesh(num_devices: int | None = None) -> Mesh:
  """Returns a mesh of the first `num_devices` (default: all) devices.

  Those of a process are neighbours, in the order of processes: rows that a
  process puts on its devices are then a piece of the global batch, and what is
  gathered comes back in the order of the records. `jax.make_mesh` orders the
  devices of a TPU by its torus instead.
  """
  devices = ordered(jax.devices()[:num_devices])
  # Auto is asked for: the default, Explicit, rejects sharding constraints.
  return Mesh(np.array(devices), (DATA,), axis_types=(AxisType.Auto,))


def ordered(
  devices: Sequence[jax.Device],
  owner: Callable[[jax.Device], int] = lambda device: device.process_index,
) -> list[jax.Device]:
  """Devices by the process that owns them, and by number within it."""
  return sorted(devices, key=lambda device: (owner(device), device.id))


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P(DATA))


def memory(mesh: Mesh) -> float:
  """Bytes of one device, by its kind: the same in all processes."""
  kind = mesh.devices.flat[0].device_kind
  known = [name for name in _GIGABYTES if kind.startswith(name)]
  return 1e9 * _GIGABYTES[max(known, key=len)] if known else UNKNOWN_MEMORY


def infer_shardings(
  tree: Any,
  mesh: Mesh,
  room: float | None = None,
  min_bytes: int = MIN_SHARDED_BYTES,
) -> Any:
  """Replicates a tree, and shards its largest leaves if it has no room.

  What is replicated is communicated once a step, as gradients are reduced; what
  is sharded is gathered for use besides. So leaves are sharded one after the
  other, the largest first, until a device holds no more than there is room for.
  Each is sharded over its largest dimension that divides evenly.

  What clients keep lies with them, whatever the room, if devices have as many
  clients each: only they read it.

  Args:
    tree: arrays or `jax.ShapeDtypeStruct`s.
    mesh: the mesh.
    room: bytes of each device for this tree; None: `STATE_SHARE` of `memory`.
    min_bytes: leaves smaller than this are replicated, whatever the room.

  Returns:
    a tree of `NamedSharding`.
  """
  if room is None:
    room = STATE_SHARE * memory(mesh)
  named, structure = jax.tree_util.tree_flatten_with_path(tree)
  leaves = [leaf for _, leaf in named]
  devices = mesh.shape[DATA]
  own = [
    jax.tree_util.DictKey(CLIENTS) in path and not x.shape[0] % devices
    for path, x in named
  ]
  specs = [P(DATA) if mine else P() for mine in own]
  sizes = [math.prod(x.shape) * x.dtype.itemsize for x in leaves]
  held = sum(
    size // devices if mine else size for size, mine in zip(sizes, own)
  )
  for i in sorted(range(len(leaves)), key=lambda i: -sizes[i]):
    if held <= room or sizes[i] < min_bytes:
      break
    if own[i]:
      continue
    axis = _divisible(leaves[i].shape, devices)
    if axis is not None:
      specs[i] = P(*[None] * axis, DATA)
      held -= sizes[i] - sizes[i] // devices
  return jax.tree.unflatten(
    structure, [NamedSharding(mesh, spec) for spec in specs]
  )


def _divisible(shape: Sequence[int], devices: int) -> int | None:
  """The largest axis that devices divide evenly, the last of several."""
  even = [axis for axis, side in enumerate(shape) if side % devices == 0]
  return max(even, key=lambda axis: (shape[axis], axis), default=None)


def constrain(x: jax.Array) -> jax.Array:
  """Shards a tensor born on the device (noise, dense to image) as a batch.

  Outside `jax.set_mesh`, and inside `shard_map`, it returns `x` unchanged, so
  that modules stay pure.
  """
  return jax.lax.with_sharding_constraint(x, P(DATA)) if _auto() else x


def gather(tree: Any) -> Any:
  """Gathers sharded parameters for use; a no-op where `constrain` is one.

  Without it the compiler is free to split single convolutions over channels or
  rows to suit the parameters, which is slow, and on some meshes wrong. Their
  gradients are not gathered: those of sharded parameters are summed where the
  parameters are, by a reduce-scatter where the compiler has one.
  """
  return _gathered(tree) if _auto() else tree


@jax.custom_vjp
def _gathered(tree):
  return jax.lax.with_sharding_constraint(tree, P())


_gathered.defvjp(lambda tree: (_gathered(tree), None), lambda _, ct: (ct,))


def _auto() -> bool:
  mesh = jax.sharding.get_abstract_mesh()
  return not (mesh.empty or AxisType.Manual in mesh.axis_types)


def jit(fn: Callable, mesh: Mesh, **options: Any) -> Callable:
  """`jax.jit` for programs on a mesh.

  CPUs do without LLVM's last level of optimisation: it takes a third of the
  time of compiling, and no step of a network is faster for it. A level set in
  XLA_FLAGS stands.
  """
  level = "xla_backend_optimization_level"
  chosen = level in os.environ.get("XLA_FLAGS", "")
  if mesh.devices.flat[0].platform == "cpu" and not chosen:
    options["compiler_options"] = {level: 2}
  return jax.jit(fn, **options)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Puts this process's rows of a batch on its devices as global arrays."""
  sharding = batch_sharding(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, np.asarray(value))
    for name, value in batch.items()
  }


def fetch(tree: Any) -> Any:
  """Returns a tree of (possibly sharded) arrays as numpy on every process.

  Replicated leaves are read where they are. Gathering them again would be a
  second program with collectives beside the step that runs, and on CPUs two
  processes may take those in different orders.
  """
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return jax.tree.map(_fetch_leaf, tree)


def _fetch_leaf(x: Any) -> np.ndarray:
  if not isinstance(x, jax.Array):
    return np.asarray(x)
  if x.is_fully_replicated:
    return np.asarray(x.addressable_data(0))
  return multihost_utils.process_allgather(x, tiled=True)


def initialize() -> None:
  """Sets up the devices; to be called once, before anything touches JAX.

  Joins the other processes of a cluster (Slurm, TPU, k8s, MPI), if there are
  any. Programs that earlier runs compiled are used (`program_cache`). A CPU is
  used as a mesh of its cores: one XLA program leaves most of them idle between
  its convolutions.
  """
  chosen = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
  if chosen < 0:
    jax.config.update("jax_num_cpu_devices", num_cpu_devices())
  _keep_freed_memory()
  program_cache.keep()
  if jax.distributed.is_initialized():
    return
  try:
    jax.distributed.initialize()
  except ValueError as error:
    # JAX says so where it finds no cluster; any other error is real.
    if "coordinator_address should be defined" not in str(error):
      raise


def num_cpu_devices(cgroup: pathlib.Path = CGROUP) -> int:
  """The devices to make of the cores that this process may use."""
  linux = sys.platform == "linux"
  cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
  cores = max(int(min(cores, cpu_quota(cgroup), MAX_CPU_DEVICES)), 1)
  # A power of two, which batch sizes divide by.
  return 2 ** (cores.bit_length() - 1)


def cpu_quota(cgroup: pathlib.Path) -> float:
  """How many cores' time a container may use; infinite where nothing says."""
  v1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
  for names in (("cpu.max",), v1):
    try:
      text = " ".join((cgroup / n).read_text() for n in names)
      quota, period = map(int, text.split())
    except (OSError, ValueError):  # there is no such file, or it says "max"
      continue
    if quota > 0:  # -1 is none, too
      return quota / period
  return math.inf


def _keep_freed_memory() -> None:
  """Has glibc, where it is the C library, keep what XLA frees after each step.

  A step's buffers are large, so by default they are new pages from the system
  each time, and on a CPU faulting them in takes a third of a small step.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if sys.platform == "linux" and mallopt:
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**28)
