"""A generator of faces from identity codes and attributes.

After Dosovitskiy, Springenberg, Brox, "Learning to Generate Chairs with
Convolutional Networks", CVPR 2015, as Meden et al. 2018 use it. For widths (w1,
..., wn), n halvings of the side s, and u units:

| layer | what | output |
|---|---|---|
| code | fc, as of the attributes; both concatenated, ReLU | 2u |
| shared | fc, ReLU | 2u |
| map | fc, reshaped, ReLU | s/2^n, s/2^n, w1 |
| up | for each width: transposed conv 4x4 of stride 2, norm, ReLU | s, s, wn |
| image | conv 3x3, sigmoid | s, s, 3 |
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models.layers import ConvBlock, Dtype, UpBlock


class FaceGenerator(nn.Module):
  """Codes [B, N] and attributes [B, A] -> images [B, side, side, 3], float32.

  Attributes:
    side: of the images; it divides by 2^len(widths).
    widths: channels of the layers, coarse to fine.
    units: of the fully connected layers.
    norm: "batch", or "group" for training with differential privacy.
    dtype: compute precision; fully connected layers are float32.
  """

  side: int
  widths: tuple[int, ...] = (256, 128, 64, 32)
  units: int = 512
  norm: str = "group"
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, code: jax.Array, attributes: jax.Array, train: bool
  ) -> jax.Array:
    factor = 2 ** len(self.widths)
    if self.side % factor:
      raise ValueError(
        f"images of side {self.side} cannot be doubled up to"
        f" {len(self.widths)} times: take a multiple of {factor}, or fewer"
        " widths"
      )
    # As embeddings begin: one of N is to count as much as the attributes.
    each = nn.initializers.normal(1.0)
    inputs = [nn.Dense(self.units, kernel_init=each, name="code")(code)]
    if attributes.shape[1]:
      inputs.append(nn.Dense(self.units, name="attributes")(attributes))
    x = nn.relu(jnp.concatenate(inputs, 1))
    x = nn.relu(nn.Dense(2 * self.units, name="shared")(x))
    base = self.side // factor
    x = nn.relu(nn.Dense(base * base * self.widths[0], name="map")(x))
    x = x.reshape(-1, base, base, self.widths[0]).astype(self.dtype)
    for width in self.widths:
      x = UpBlock(width, norm=self.norm, dtype=self.dtype)(x, train)
    x = ConvBlock(3, norm="", activation=nn.sigmoid, dtype=self.dtype)(x, train)
    return x.astype(jnp.float32)
