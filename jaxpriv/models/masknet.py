"""The masknet: a recogniser that is told which pixels are hidden.

Li et al., "On Mask-based Image Set Desensitization with Recognition Support",
2023, section 3.3. What a backbone makes of hidden pixels is weighed, channel by
channel, by a small network that sees the mask m alone (1 is visible); what it
makes of visible ones stays as it is, equation (6):

  FS = fsm(m) (1 - m') + m',   feature <- feature * FS

m' is m at the size of the feature, by the nearest pixel: there a cell is
visible or hidden, and FS is exactly 1 where it is visible. (So is it for clean
images, whose mask is all ones: for them the masknet is its backbone.)

The feature is the output of one of the backbone's stages 1 to 4, the paper's
layer1 to layer4, of which stage 3 is its best. fsm has as many modules as
halvings lead to the size of that stage. For stage 3 of ResNet-34 at 224 px:

| module | what | output |
|---|---|---|
| 1 to 3 | conv 3x3 stride 2, norm, ReLU | 112, 32; 56, 64; 28, 128 |
| 4 | conv 3x3 stride 2, norm, sigmoid(x + 3) | 14, 14, 256 |

Widths are not in the paper but for the last: here they double, as in the
backbone. Nor is how "each pixel is normalized": a sigmoid makes weights of 0 to
1, and adding 3 has training begin with weights of about 1 (.95 where the norm
gives 0), near the backbone without a gate.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers

_OPEN = 3.0  # added before the sigmoid


class FSM(nn.Module):
  """Masks [B, H, W, 1] -> weights [B, H / stride, W / stride, features].

  BatchNorm in training takes its statistics from all masks of a call. From one
  mask it takes them over its positions only, and the averages that evaluation
  uses become those of that mask: right where this mask is the template that is
  evaluated, too, and for no other. From one mask per image it takes them from
  the mixture, clean images included, so that evaluation is right for masks that
  are drawn as in training. GroupNorm weighs each mask on its own.

  Attributes:
    features: channels of the output.
    stride: a power of 2; sides are rounded up, as those of a backbone are.
    norm: "batch" or "group".
    dtype: compute precision.
  """

  features: int
  stride: int
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, masks: jax.Array, train: bool) -> jax.Array:
    halvings = max(self.stride.bit_length() - 1, 1)
    x = masks.astype(self.dtype)
    for i in reversed(range(halvings)):
      x = layers.ConvBlock(
        max(self.features // 2**i, 1),
        min(self.stride, 2),
        self.norm,
        nn.relu if i else lambda x: nn.sigmoid(x + _OPEN),
        self.dtype,
      )(x, train)
    return x


class Masknet(nn.Module):
  """Images [B, S, S, 3] and masks -> what the backbone gives, [B, features].

  Images are those that were released: hidden pixels are hidden already. It is a
  backbone itself, as `heads.MarginRecogniser` wants one.

  Attributes:
    backbone: a `resnet.ResNet` or `iresnet.IResNet`; its norm and dtype are
      those of the FSM, too.
    insertion: the stage whose output is weighed, from 1.
  """

  backbone: nn.Module
  insertion: int = 3

  def setup(self):
    stages = len(self.backbone.depths)
    if not 1 <= self.insertion <= stages:
      raise ValueError(
        f"insertion is a stage of the backbone, 1 to {stages}, not"
        f" {self.insertion}"
      )
    stride, channels = self.backbone.stage(self.insertion)
    self.fsm = FSM(channels, stride, self.backbone.norm, self.backbone.dtype)

  @property
  def features(self) -> int:
    return self.backbone.features

  def selection(self, keep: jax.Array, train: bool = False) -> jax.Array:
    """Returns FS, float32 [1 or B, h, w, C], of keep [S, S] or [B, S, S]."""
    keep = jnp.asarray(keep, jnp.float32)
    masks = keep.reshape(-1, *keep.shape[-2:], 1)
    weights = self.fsm(masks, train).astype(jnp.float32)
    visible = jax.image.resize(masks, (*weights.shape[:3], 1), "nearest")
    return weights * (1 - visible) + visible

  def __call__(
    self, images: jax.Array, keep: jax.Array, train: bool
  ) -> jax.Array:
    """Embeds images.

    Args:
      images: [B, S, S, 3] in [0, 1].
      keep: [S, S], which costs one mask however many images there are, or
        [B, S, S]; 1 is visible.
      train: whether norms use the statistics of this call.
    """
    if keep.shape[-2:] != images.shape[1:3]:
      raise ValueError(
        f"masks {keep.shape} are not of the size of images {images.shape}"
      )
    gates = {self.insertion: self.selection(keep, train)}
    return self.backbone(images, train=train, gates=gates)


def fold(
  masknet: Masknet, variables: Mapping[str, Any], keep: jax.Array
) -> Callable[[jax.Array], jax.Array]:
  """The masknet of one template: FS is computed once, here.

  Args:
    masknet: a module on its own, not bound to variables.
    variables: its own: "params" and perhaps "batch_stats".
    keep: [S, S], 1 is visible.

  Returns:
    images [B, S, S, 3] -> embeddings, in evaluation mode, at the cost of the
    backbone and one multiplication. The FSM's variables are not in it.
  """
  selection: Any = masknet.apply(variables, keep, method="selection")
  own = {
    kind: tree["backbone"]
    for kind, tree in variables.items()
    if "backbone" in tree
  }

  def embed(images: jax.Array) -> jax.Array:
    features: Any = masknet.backbone.apply(
      own, images, train=False, gates={masknet.insertion: selection}
    )
    return features

  return embed
