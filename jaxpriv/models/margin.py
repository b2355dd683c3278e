r"""Softmax heads for recognition, with angular margins and without.

`softmax_loss` is the cross-entropy of e w_j^T, without a bias. With unit
embedding e, unit class weights w_j, theta_j = angle(e, w_j) and label y, the
other three are the cross-entropy of softmax(s z) where z_j = cos(theta_j) for
the other classes and

  ArcFace   z_y = cos(theta_y + m)           Deng et al., CVPR 2019, eq. (3)
  CosFace   z_y = cos(theta_y) - m           Wang et al., CVPR 2018, eq. (4)
  MagFace   z_y = cos(theta_y + m(a))        Meng et al., CVPR 2021, eq. (2)
            + lambda_g g(a),  a = |embedding| clipped to [lower, upper],
            m(a) linear from lower_margin to upper_margin over that range,
            g(a) = a / upper^2 + 1 / a

Beyond theta_y + m = pi, where cos(theta + m) would rise again, ArcFace and
MagFace continue as cos(theta_y) - m sin(m), which falls: insightface's branch
for easy_margin=False. MagFace's authors train with easy_margin=True, that is
without margin where cos(theta_y) <= 0; pass it explicitly if wanted.

Everything is computed in float32 at least, whatever the inputs are. At
cos(theta) = +-1, where d sin / d cos is infinite, sin is treated as constant,
so that gradients stay finite. A label outside [0, classes) is unknown and adds
no loss. Label logits are picked by a masked sum, so class weights may be
sharded over their first dimension.
"""

import math

import jax
import jax.numpy as jnp

GRADIENTS = ("exact", "straight_through")
SCALE = 64.0


def softmax_loss(
  embeddings: jax.Array,
  weight: jax.Array,
  labels: jax.Array,
  reduction: str = "mean",
) -> jax.Array:
  """Softmax cross-entropy of embeddings weight^T: no angle and no margin.

  Args:
    embeddings: [B, D].
    weight: [classes, D].
    labels: [B] integers.
    reduction: "mean" over the batch, or "none".

  Returns:
    the loss, [] or [B].
  """
  dtype = jnp.promote_types(embeddings.dtype, jnp.float32)
  logits = embeddings.astype(dtype) @ weight.astype(dtype).T
  target = _label_logit(logits, labels)
  return _reduce(_cross_entropy(logits, target, labels, 1.0), reduction)


def arcface_loss(
  embeddings: jax.Array,
  weight: jax.Array,
  labels: jax.Array,
  scale: float = SCALE,
  margin: float = 0.5,
  gradient: str = "exact",
  reduction: str = "mean",
) -> jax.Array:
  """Additive angular margin.

  Args:
    embeddings: [B, D], any norm.
    weight: [classes, D], any norm.
    labels: [B] integers.
    scale: s.
    margin: m, in radians.
    gradient: "exact", or "straight_through": the margin changes the value of
      the label's logit, but its derivative by cos(theta_y) is taken as s, not
      as s sin(theta_y + m) / sin(theta_y), as in insightface's arcface_torch.
    reduction: "mean" over the batch, or "none".

  Returns:
    the loss, [] or [B].
  """
  if gradient not in GRADIENTS:
    raise ValueError(f"gradient is one of {GRADIENTS}, not {gradient!r}")
  cosine = cosine_logits(embeddings, weight)
  target = _label_logit(cosine, labels)
  shifted = _add_angle(target, jnp.asarray(margin, target.dtype))
  if gradient == "straight_through":
    shifted = target + jax.lax.stop_gradient(shifted - target)
  return _reduce(_cross_entropy(cosine, shifted, labels, scale), reduction)


def cosface_loss(
  embeddings: jax.Array,
  weight: jax.Array,
  labels: jax.Array,
  scale: float = SCALE,
  margin: float = 0.4,
  reduction: str = "mean",
) -> jax.Array:
  """Additive cosine margin; its exact gradient is the straight-through one."""
  cosine = cosine_logits(embeddings, weight)
  shifted = _label_logit(cosine, labels) - margin
  return _reduce(_cross_entropy(cosine, shifted, labels, scale), reduction)


def magface_loss(
  embeddings: jax.Array,
  weight: jax.Array,
  labels: jax.Array,
  scale: float = SCALE,
  lower: float = 10.0,
  upper: float = 110.0,
  lower_margin: float = 0.45,
  upper_margin: float = 0.8,
  lambda_g: float = 35.0,
  easy_margin: bool = False,
  reduction: str = "mean",
) -> jax.Array:
  """Margin that grows with the embedding's norm, and a pull to longer norms.

  Args:
    embeddings: [B, D]; their norms matter, and must not be normalised away.
    weight: [classes, D], any norm.
    labels: [B] integers.
    scale: s.
    lower: l_a, the norm below which the margin is smallest.
    upper: u_a, the norm above which it is largest.
    lower_margin: m(l_a), in radians.
    upper_margin: m(u_a).
    lambda_g: weight of g(a).
    easy_margin: no margin where cos(theta_y) <= 0.
    reduction: "mean" over the batch, or "none".

  Returns:
    the loss, [] or [B].
  """
  cosine = cosine_logits(embeddings, weight)
  target = _label_logit(cosine, labels)
  squared = jnp.sum(jnp.square(embeddings.astype(cosine.dtype)), -1)
  # Clipped before the root, which has an infinite gradient at 0.
  norm = jnp.sqrt(jnp.clip(squared, lower**2, upper**2))
  slope = (upper_margin - lower_margin) / (upper - lower)
  margin = lower_margin + slope * (norm - lower)
  shifted = _add_angle(target, margin, easy_margin)
  losses = _cross_entropy(cosine, shifted, labels, scale)
  pull = norm / upper**2 + 1 / norm
  labelled = (labels >= 0) & (labels < weight.shape[0])
  return _reduce(losses + jnp.where(labelled, lambda_g * pull, 0), reduction)


def cosine_logits(embeddings: jax.Array, weight: jax.Array) -> jax.Array:
  """cos(theta), [B, D] x [classes, D] -> [B, classes], float32 at least."""
  embeddings, weight = _normalized(embeddings), _normalized(weight)
  cosine = jnp.matmul(embeddings, weight.T, precision="highest")
  return jnp.clip(cosine, -1, 1)


def _normalized(x):
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  squared = jnp.sum(jnp.square(x), -1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-12))


def _is_label(logits, labels):
  return labels[:, None] == jnp.arange(logits.shape[1])


def _label_logit(logits, labels):
  return jnp.sum(jnp.where(_is_label(logits, labels), logits, 0), -1)


def _add_angle(cosine, margin, easy_margin=False):
  """cos(theta + margin) from cos(theta), falling over the whole of [0, pi]."""
  square = (1 - cosine) * (1 + cosine)
  # A second `where` keeps infinities of the untaken branch out of the gradient.
  inside = square > jnp.finfo(cosine.dtype).eps
  sine = jnp.where(inside, jnp.sqrt(jnp.where(inside, square, 1)), 0)
  shifted = cosine * jnp.cos(margin) - sine * jnp.sin(margin)
  if easy_margin:
    return jnp.where(cosine > 0, shifted, cosine)
  beyond = cosine - margin * jnp.sin(margin)
  return jnp.where(cosine > jnp.cos(math.pi - margin), shifted, beyond)


def _cross_entropy(cosine, target, labels, scale):
  """Per example, with the label's cosine replaced by target; 0 if unknown."""
  is_label = _is_label(cosine, labels)
  logits = scale * jnp.where(is_label, target[:, None], cosine)
  losses = jax.nn.logsumexp(logits, -1) - scale * target
  return jnp.where(is_label.any(-1), losses, 0)


def _reduce(losses, reduction):
  if reduction not in ("mean", "none"):
    raise ValueError(f'reduction is "mean" or "none", not {reduction!r}')
  return losses.mean() if reduction == "mean" else losses
