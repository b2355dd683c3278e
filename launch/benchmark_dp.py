"""`launch.benchmark dp`: a private step against a plain one, and against peers.

One network (five convolutions with GroupNorm, two Dense layers, 64 pixels), one
batch, one machine. The plain step is measured with the convolutions that the
private one has (patches and a matrix product) and with XLA's own. Peers run
where they are installed: jax_privacy here, and Opacus in an environment of its
own, whose Python --torch_python names. Times of all that run in this process
are taken in turns, and their ratios are medians over rounds, so that a busy
machine disturbs all alike.
"""

import importlib
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.privacy import clipping, products
from jaxpriv.training import mesh as mesh_lib

SIDE, OUTPUTS, CLIP = 64, 70, 1.0
WIDTHS = (32, 64, 128, 128, 128)


class Network(nn.Module):
  """Images [B, 64, 64, 3] -> [B, 70]; 931,110 parameters."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for i, width in enumerate(WIDTHS):
      x = nn.Conv(width, (3, 3), strides=2 if i else 1, padding=1)(x)
      x = nn.relu(nn.GroupNorm(num_groups=8)(x))
    x = x.reshape(*x.shape[:-3], -1)
    return nn.Dense(OUTPUTS)(nn.relu(nn.Dense(256)(x)))


def loss_fn(params: Any, example: dict) -> jax.Array:
  """Squared error of an image, or mean of that of several."""
  outputs = Network().apply({"params": params}, example["image"])
  return jnp.mean(jnp.square(outputs - example["label"]))


def _plain(microbatch: int | None, lowered: bool) -> Callable:
  """(params, batch) -> mean gradient, without privacy, on any mesh."""

  def of_rows(params, rows):
    if not lowered:
      return jax.grad(loss_fn)(params, rows)
    program = products.find(loss_fn, params, rows, convolutions=True)
    leaves, structure = jax.tree.flatten(params)
    probes = [
      jnp.zeros(use.output.shape, use.output.dtype)
      for use in program.uses.values()
    ]
    grads = jax.grad(lambda leaves: program.run(leaves, rows, probes)[0])
    return jax.tree.unflatten(structure, grads(leaves))

  def gradient(params, batch):
    if microbatch is None:
      return of_rows(params, batch)
    count = len(batch["image"]) // microbatch
    parts = jax.tree.map(
      lambda x: x.reshape(count, microbatch, *x.shape[1:]), batch
    )

    def body(total, part):
      return jax.tree.map(jnp.add, total, of_rows(params, part)), None

    total = jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), parts)[0]
    return jax.tree.map(lambda x: x / count, total)

  def sharded(params, batch):
    spec = jax.sharding.PartitionSpec

    def local(params, batch):
      return jax.lax.pmean(gradient(params, batch), "data")

    return jax.shard_map(
      local, in_specs=(spec(), spec("data")), out_specs=spec(), check_vma=False
    )(params, batch)

  return sharded


def _private(microbatch: int | None) -> Callable:
  clipped = clipping.clipped_grad(loss_fn, CLIP, microbatch_size=microbatch)
  return lambda params, batch: clipped(params, batch)[0]


def _jax_privacy() -> Callable | None:
  try:
    # A peer to be measured, not a dependency.
    jax_privacy = importlib.import_module("jax_privacy")
  except ImportError:
    print("jax_privacy is left out: it is not installed")
    return None
  return jax_privacy.clipped_grad(
    loss_fn, l2_clip_norm=CLIP, keep_batch_dim=False
  )


def run(batch_size: int, rounds: int, torch_python: str) -> list[dict]:
  """Rows of the table: step, ms, ratios, temporaries as XLA counts them."""
  mesh = mesh_lib.make_mesh()
  params = Network().init(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))
  params = params["params"]
  random = np.random.default_rng(0)
  batch = {
    "image": random.random((batch_size, SIDE, SIDE, 3), np.float32),
    "label": random.random((batch_size, OUTPUTS), np.float32),
  }
  cases: dict[str, tuple[Callable, bool]] = {
    "plain, XLA convs": (_plain(None, False), True),
    "plain": (_plain(None, True), True),
    "plain, 8 at once": (_plain(8, True), True),
    "private": (_private(None), True),
    "private, 16 at once": (_private(16), True),
    "private, 8 at once": (_private(8), True),
  }
  peer = _jax_privacy()
  if peer:
    # On a mesh its convolutions are silently wrong: it has one device, and XLA
    # gives that all cores.
    cases["jax_privacy"] = (peer, False)
  timed, memory, outputs = {}, {}, {}
  for name, (fn, meshed) in cases.items():
    with jax.set_mesh(mesh if meshed else mesh_lib.make_mesh(1)):
      here = {k: jnp.asarray(v) for k, v in batch.items()}
      if meshed:
        here = mesh_lib.put_batch(batch, mesh)
      compiled = jax.jit(fn).lower(params, here).compile()
      analysis = compiled.memory_analysis()
      memory[name] = analysis.temp_size_in_bytes if analysis else 0
      outputs[name] = jax.block_until_ready(compiled(params, here))
      timed[name] = (compiled, here)
  _check_alike(outputs)
  seconds: dict[str, list[float]] = {name: [] for name in timed}
  for _ in range(rounds):
    for name, (compiled, here) in timed.items():
      start = time.perf_counter()
      jax.block_until_ready(compiled(params, here))
      seconds[name].append(time.perf_counter() - start)
  best = {name: min(times) for name, times in seconds.items()}
  fastest = lambda start: min(
    (name for name in best if name.startswith(start)), key=best.__getitem__
  )
  plain, ours = fastest("plain"), fastest("private")

  def ratio(name, other):
    # Within a round, since a busy machine slows both.
    pairs = zip(seconds[name], seconds[other], strict=True)
    return round(float(np.median([a / b for a, b in pairs])), 2)

  rows = [
    dict(
      step=name,
      ms=round(1e3 * value, 1),
      vs_plain=ratio(name, plain),
      vs_private=ratio(name, ours),
      temp_mb=round(memory[name] / 1e6),
      # Relative to the plain step of as many examples at once.
      temp_ratio=round(memory[name] / memory[_alike(name)], 2),
    )
    for name, value in best.items()
  ]
  for name, value in _opacus(batch_size, rounds, torch_python).items():
    rows.append(
      dict(
        step=f"torch, {name}",
        ms=round(1e3 * value, 1),
        vs_plain=round(value / best[plain], 2),
        vs_private=round(value / best[ours], 2),
        temp_mb="",
        temp_ratio="",
      )
    )
  return rows


def _alike(name: str) -> str:
  return "plain, 8 at once" if "8 at once" in name else "plain"


def _check_alike(outputs):
  """Checks that outputs agree: plain with plain, private with peers."""
  flat = {
    name: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    for name, tree in outputs.items()
  }
  for first, others in (
    ("plain, XLA convs", "plain"),
    ("private", ("private", "jax_privacy")),
  ):
    for name, value in flat.items():
      if name.startswith(others):
        scale = np.abs(flat[first]).max()
        worst = np.abs(value - flat[first]).max() / scale
        if not worst < 1e-4:
          raise AssertionError(f"{name} differs from {first} by {worst:.2g}")


def _opacus(batch_size, rounds, torch_python) -> dict[str, float]:
  """Best seconds of each mode of Opacus; none, with a word, where it is not."""
  if not torch_python:
    print("Opacus is left out: --torch_python names no Python with it")
    return {}
  done = subprocess.run(
    [torch_python, "tools/opacus_step.py", str(batch_size), str(rounds)],
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    print(f"Opacus is left out: {done.stderr.strip().splitlines()[-1]}")
    return {}
  return json.loads(done.stdout)
