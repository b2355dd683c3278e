"""Machines that are not here: their devices as JAX sees them, and their limits.

`jax.experimental.topologies` gives devices that programs can be compiled for by
the real compiler of their platform. That of GPUs comes with the wheels of
`jax[cuda12]`, that of TPUs with those of `jax[tpu]`; neither needs a card.

Limits are those that makers publish for one device, without sparsity: NVIDIA's
data sheets of A100 80 GB SXM, H100 SXM and H200 SXM, and Google's pages "TPU
v5e", "TPU v5p" and "TPU v6e". Links are counted in one direction.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from jaxpriv.errors import SettingError
from jaxpriv.training import mesh as mesh_lib

_TERA, _GIGA = 1e12, 1e9


class Device(NamedTuple):
  """The limits of one device; 0 is unknown.

  Attributes:
    platform: "cpu", "cuda" or "tpu".
    memory: bytes.
    flops: a second, of products of bfloat16.
    flops32: likewise of float32 as XLA multiplies it by default: as
      TensorFloat-32 on GPUs, in one pass of bfloat16 on TPUs.
    bandwidth: bytes a second, of its memory.
    link: bytes a second, to other devices.
  """

  platform: str
  memory: float = 0.0
  flops: float = 0.0
  flops32: float = 0.0
  bandwidth: float = 0.0
  link: float = 0.0


DEVICES = {
  "a100": Device(
    "cuda", 80 * _GIGA, 312 * _TERA, 156 * _TERA, 2039 * _GIGA, 300 * _GIGA
  ),
  "h100": Device(
    "cuda", 80 * _GIGA, 989 * _TERA, 494 * _TERA, 3350 * _GIGA, 450 * _GIGA
  ),
  "h200": Device(
    "cuda", 141 * _GIGA, 989 * _TERA, 494 * _TERA, 4800 * _GIGA, 450 * _GIGA
  ),
  "v5e": Device(
    "tpu", 16 * _GIGA, 197 * _TERA, 197 * _TERA, 819 * _GIGA, 200 * _GIGA
  ),
  "v5p": Device(
    "tpu", 95 * _GIGA, 459 * _TERA, 459 * _TERA, 2765 * _GIGA, 600 * _GIGA
  ),
  "v6e": Device(
    "tpu", 32 * _GIGA, 918 * _TERA, 918 * _TERA, 1638 * _GIGA, 400 * _GIGA
  ),
  "cpu": Device("cpu"),
}
# Numbers of a card that XLA chooses kernels by.
_CARDS = {
  "a100": dict(
    core_count=108, fpus_per_core=64, l2_cache_size=40 * 2**20,
    clock_rate_ghz=1.41, shared_memory_per_core=167_936,
    shared_memory_per_block_optin=166_912, major=8,
  ),
  "h100": dict(
    core_count=132, fpus_per_core=128, l2_cache_size=50 * 2**20,
    clock_rate_ghz=1.98, shared_memory_per_core=233_472,
    shared_memory_per_block_optin=232_448, major=9,
  ),
}  # fmt: skip
_CARDS["h200"] = _CARDS["h100"]
_GPU = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared_memory_per_core}
  shared_memory_per_block_optin: {shared_memory_per_block_optin}
  threads_per_core_limit: 2048 core_count: {core_count}
  fpus_per_core: {fpus_per_core} block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth:.0f} l2_cache_size: {l2_cache_size}
  clock_rate_ghz: {clock_rate_ghz} device_memory_size: {memory:.0f}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability {{ major: {major} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "NVIDIA {name}"
"""
# Cards of a host, which `Device.link` connects.
_HOST = 8
# For wheels that are missing: extra of this package.
_EXTRAS = {"cuda": "aot-gpu", "tpu": "aot-tpu"}
# Without a card nothing is tuned, and XLA's search of tiles for the products
# that it writes itself fails on some of them. XLA for TPUs tries many forms of
# each convolution: at its least effort it is several times faster.
_OPTIONS: dict[str, dict[str, bool | float]] = {
  "cuda": {"xla_gpu_enable_triton_gemm": False},
  "tpu": {"exec_time_optimization_effort": -1.0},
}


class Topology(NamedTuple):
  """A number of devices of one kind.

  Attributes:
    name: as it was asked for, "h200:8".
    kind: a key of `DEVICES`.
    shape: devices along each axis of a TPU's torus; (number,) of others.
    tuned: whether the compiler of a TPU tries as hard as for a run.
  """

  name: str
  kind: str
  shape: tuple[int, ...]
  tuned: bool = False

  @property
  def device(self) -> Device:
    return DEVICES[self.kind]

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  @property
  def options(self) -> dict[str, bool | float]:
    """Options of its compiler."""
    platform = self.device.platform
    if self.tuned and platform == "tpu":
      return {}
    return dict(_OPTIONS.get(platform, {}))


def parse(name: str, tuned: bool = False) -> Topology:
  """Reads "h200:8", "v5e:4x4" or "cpu:8".

  Args:
    name: what to read.
    tuned: see `Topology`.

  Raises:
    SettingError: the kind is unknown, or that is no number of devices.
  """
  kind, colon, sides = name.partition(":")
  parts = sides.split("x")
  if kind not in DEVICES:
    raise SettingError(
      f"--topology={name}: devices are of {', '.join(DEVICES)}, as in h200:8"
    )
  numbers = all(part.isdecimal() and int(part) for part in parts)
  flat = len(parts) == 1 or DEVICES[kind].platform == "tpu"
  if not colon or not numbers or not flat:
    example = f"{kind}:4x4" if DEVICES[kind].platform == "tpu" else f"{kind}:8"
    raise SettingError(
      f"--topology={name}: say how many devices, as in {example}"
    )
  topology = Topology(name, kind, tuple(map(int, parts)), tuned)
  if DEVICES[kind].platform == "cuda" and topology.size > _HOST:
    raise SettingError(
      f"--topology={name}: cards of one host are reckoned with, {_HOST} at"
      " most. What connects hosts differs from cluster to cluster"
    )
  return topology


def make_mesh(topology: Topology) -> Mesh:
  """A mesh of devices that are not here, for programs that are compiled only.

  Those of a CPU are made of this one's cores; `jax_num_cpu_devices` says how
  many there are.

  Raises:
    SettingError: the compiler is not installed, or there is no such topology;
      the message says what to do.
  """
  kind, device = topology.kind, topology.device
  if device.platform == "cpu":
    if topology.size > jax.device_count():
      raise SettingError(
        f"--topology={topology.name}: JAX was started with"
        f" {jax.device_count()} devices"
      )
    return mesh_lib.make_mesh(topology.size)
  try:
    if device.platform == "tpu":
      described = topologies.get_topology_desc(topology.name, platform="tpu")
    else:
      described = topologies.get_topology_desc(
        kind,
        platform="cuda",
        target_config=_target(kind),
        topology=f"1x{topology.size}x1",
      )
  except (NotImplementedError, RuntimeError) as error:
    missing = isinstance(error, NotImplementedError) or "not installed" in str(
      error
    )
    if not missing:
      raise SettingError(f"--topology={topology.name}: {error}") from error
    extra = _EXTRAS[device.platform]
    raise SettingError(
      f"--topology={topology.name}: the compiler for it is not installed: pip"
      f" install 'jaxpriv[{extra}]' in an environment of its own"
    ) from error
  devices = mesh_lib.ordered(described.devices)
  return Mesh(np.array(devices), (mesh_lib.DATA,), axis_types=(AxisType.Auto,))


def _target(kind: str) -> str:
  """XLA's description of a card."""
  device = DEVICES[kind]
  return _GPU.format(
    name=kind.upper(),
    bandwidth=device.bandwidth,
    memory=device.memory,
    **_CARDS[kind],
  )
