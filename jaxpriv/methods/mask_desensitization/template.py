"""Equation (4): the pixels that matter to a recogniser, on average.

The saliency map of a photograph is contrastive or plain excitation backprop
from the output of the person it shows, smoothed, and divided by its largest
value: maps sum to one, so that without that the threshold would say nothing.
Their mean over the photographs of all steps is divided by its largest value in
turn.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxpriv.data import filters
from jaxpriv.models import saliency
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Outputs, Phase, State

SMOOTH = 0.03  # sigma of a filter of maps, as a share of the side

# (images [B, S, S, 3], frozen) -> logits [B, people] of a linear output layer.
Logits = Callable[[jax.Array, Mapping[str, State]], jax.Array]


def phase(
  name: str, needs: tuple[str, ...], logits: Logits, contrast: bool
) -> Phase:
  """The mean saliency map of the photographs of all batches.

  Its state is {"total" [S, S], "count" []}; `average` reads it.
  """

  def init(key, batch, frozen):
    del key, frozen
    side = batch["image"].shape[1:3]
    return {"total": jnp.zeros(side), "count": jnp.zeros(())}

  def step(state, frozen, batch, key):
    del key
    found = maps(logits, batch["image"], frozen, contrast, batch["identity"])
    used = jnp.logical_not(batch["padding"])[:, None, None]
    total = state["total"] + jnp.where(used, found, 0).sum(0)
    count = state["count"] + used.sum()
    return {"total": total, "count": count}, {"photographs": count}

  def sample(state, frozen, batch):
    own = maps(logits, batch["image"], frozen, contrast)
    mean = jnp.broadcast_to(average(state), own.shape)
    grey = lambda x: jnp.repeat(x[..., None], 3, -1)
    return {
      "original": batch["image"],
      "saliency": mesh_lib.constrain(grey(own)),
      "mean saliency": mesh_lib.constrain(grey(mean)),
    }

  return Phase(name, needs, Method(init, step, Outputs(sample=sample)))


def maps(
  logits: Logits,
  images: jax.Array,
  frozen: Mapping[str, State],
  contrast: bool,
  labels: jax.Array | None = None,
) -> jax.Array:
  """Saliency maps [B, S, S] whose largest value is 1, or all zeros.

  Args:
    logits: of the recogniser.
    images: [B, S, S, 3].
    frozen: states that it reads.
    contrast: whether what speaks for everybody is left out.
    labels: int [B], who is shown; by default whom the recogniser names.
  """
  read = lambda x: logits(x, frozen)
  scores = read(images)
  if labels is None:
    labels = jnp.argmax(scores, axis=1)
  top = jax.nn.one_hot(labels, scores.shape[1])
  found = saliency.excitation_backprop(read, images, top, contrast=contrast)
  # Strides of layers leave a grid in maps, as wide as a few pixels.
  return saliency.normalised(
    filters.gaussian_blur(found, SMOOTH * images.shape[1])
  )


def average(state: State) -> jax.Array:
  """The mean map [S, S], whose largest value is 1."""
  return state["total"] / jnp.maximum(state["total"].max(), 1e-12)


def critical(state: State, threshold: float, most: float) -> jax.Array:
  """The template S of equation (4): bool [S, S], never hidden.

  Args:
    state: of the phase.
    threshold: of the mean map, T.
    most: the share of pixels that may be critical, so that as much can be
      hidden as is asked for; of more those count that matter most.
  """
  mean = average(state)
  return most_salient(mean[None], most)[0] & (mean > threshold)


def most_salient(maps: jax.Array, share: float) -> jax.Array:
  """The share of pixels that matter most.

  Args:
    maps: [B, S, S].
    share: of the pixels, in (0, 1).

  Returns:
    bool [B, S, S]; exactly that share of them is true, but for rounding.
  """
  count, side = len(maps), maps.shape[1]
  # By rank: in flat parts of a map pixels are alike.
  order = jnp.argsort(-maps.reshape(count, -1), axis=1, stable=True)
  ranks = jnp.argsort(order, axis=1)
  return (ranks < round(share * side * side)).reshape(maps.shape)
