"""Small models, data and phases for the tests of the engine."""

from importlib import metadata

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import common
from jaxpriv.models import layers
from jaxpriv.training import builders
from jaxpriv.training.method import Phase

SIDE = 8

# With both flags of the other tests (see conftest.py), XLA compiles a step of
# the feature selection network to other numbers on eight devices than on one,
# and views drawn inside a gradient to others in other microbatches; with either
# alone it does not. JAX 0.12 draws other views on eight devices below level 2,
# which is the level of programs (`mesh.jit`).
CAREFUL = {"xla_backend_optimization_level": 2}
if metadata.version("jaxlib") < "0.11":
  CAREFUL = {"xla_cpu_use_fusion_emitters": True}


class Net(nn.Module):
  """[B, 8, 8, 3] -> [B]; convolution, norm, dropout and dense."""

  norm: str = "batch"
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, train):
    x = layers.ConvBlock(16, stride=2, norm=self.norm)(x, train)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1)))
    return nn.Dense(1)(x)[:, 0]


class Generator(nn.Module):
  """Noise [B, 4] -> images [B, 8, 8, 3], dense to image as generators are."""

  @nn.compact
  def __call__(self, noise, train):
    x = nn.Dense(SIDE * SIDE * 8)(noise).reshape(-1, SIDE, SIDE, 8)
    return nn.sigmoid(nn.Conv(3, (3, 3))(x))


def regression_loss(apply, batch, frozen):
  """Mean brightness is what there is to learn."""
  target = batch["image"].mean((1, 2, 3))
  losses = jnp.square(apply(batch["image"]) - target)
  return losses, {"absolute": jnp.sqrt(losses)}


def regression(norm="batch", dropout=0.0, **arguments):
  return builders.supervised(
    Net(norm, dropout), regression_loss, optax.adam(1e-2), **arguments
  )


def phase(norm="batch", dropout=0.0, **arguments):
  return Phase("toy", (), regression(norm, dropout, **arguments))


def batch(rows=16, seed=0):
  """A batch as pipelines give it: uint8 images and padding."""
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)
  return {"image": image, "padding": np.zeros(rows, bool)}


def batches(first, rows=16):
  step = first
  while True:
    yield batch(rows, seed=step)
    step += 1


def float_batch(rows=16, seed=0):
  made = batch(rows, seed)
  return {**made, "image": made["image"].astype(np.float32) / 255}


def leaves(tree):
  return [np.asarray(x) for x in jax.tree.leaves(tree)]


def trained(workdir, name="toy", step=2):
  """Makes a directory that looks like a checkpoint of a phase."""
  made = workdir / "phases" / name / str(step)
  made.mkdir(parents=True)
  (made / "_CHECKPOINT_METADATA").touch()


def config(**changes):
  made = common.base("embedded_autoencoder")
  made.phases.toy = common.phase(4, 16)
  made.update(changes)
  return made
