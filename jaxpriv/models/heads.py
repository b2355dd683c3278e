"""Backbones with the output layers that training needs.

A backbone is any module `(images [B, S, S, 3] in [0, 1], train) -> [B, D]`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class MarginRecogniser(nn.Module):
  """Images [B, S, S, 3] -> (embeddings [B, D], weight [classes, D]).

  Attributes:
    backbone: images to embeddings; it may take further inputs, as
      `masknet.Masknet` does.
    classes: people of the training set; weight holds one centre for each.
    side: images are first resized to this side, antialiased, for example for a
      112 px recogniser of 224 px images; 0 leaves them unchanged.
  """

  backbone: nn.Module
  classes: int
  side: int = 0

  def setup(self):
    self.weight = self.param(
      "weight",
      nn.initializers.normal(0.01),
      (self.classes, self.backbone.features),
      jnp.float32,
    )

  def embed(
    self, images: jax.Array, *inputs: jax.Array, train: bool = False
  ) -> jax.Array:
    """Returns embeddings [B, D], float32, not normalised."""
    if self.side and images.shape[1] != self.side:
      shape = (images.shape[0], self.side, self.side, images.shape[3])
      images = jax.image.resize(images, shape, "linear")
    return self.backbone(images, *inputs, train=train)

  def __call__(
    self, images: jax.Array, *inputs: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    return self.embed(images, *inputs, train=train), self.weight


class AttributePredictor(nn.Module):
  """Images [B, S, S, 3] -> logits [B, attributes, 2], float32."""

  backbone: nn.Module
  attributes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    x = self.backbone(images, train=train)
    logits = nn.Dense(2 * self.attributes, dtype=jnp.float32)(x)
    return logits.reshape(-1, self.attributes, 2)


class Readout(nn.Module):
  """Images [B, S, S, 3] -> numbers [B, outputs], float32."""

  backbone: nn.Module
  outputs: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    x = self.backbone(images, train=train)
    return nn.Dense(self.outputs, dtype=jnp.float32)(x)
