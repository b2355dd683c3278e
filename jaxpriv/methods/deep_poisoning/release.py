"""The release of features: P(f(x)), keyed by a secret, then filters and noise.

All draws are functions of the secret and of the image alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning.modules import Module
from jaxpriv.models import poisoning
from jaxpriv.training.method import Method, Phase


class Release(NamedTuple):
  """The map from f(x) to released features.

  Attributes:
    module: P, or what stands in its place.
    model: config.model, with the secret and `after`.
  """

  module: Module
  model: ConfigDict

  def __call__(self, apply, z, images, code=None) -> jax.Array:
    """P(z), float32.

    Args:
      apply: (z, what was drawn) -> features: the module's net, bound.
      z: f(images), [B, H, W, C].
      images: [B, S, S, 3], from which keys are drawn.
      code: a guessed key [B, C], in place of the one that is drawn. No noise
        is then added, as an attacker without the secret computes it.
    """
    keys = poisoning.content_keys(images, self.model.secret)
    inner, outer = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    z = apply(z, self.module.draw(inner, code))
    noise_keys = outer if code is None else None
    return after(self.model.after, z.astype(jnp.float32), noise_keys)


def after(
  settings: ConfigDict, z: jax.Array, keys: jax.Array | None
) -> jax.Array:
  """Filters released features, and adds noise if there are keys for it."""
  if settings.gaussian:
    z = poisoning.gaussian_filter(z, settings.gaussian)
  if settings.mean:
    z = poisoning.mean_filter(z, settings.mean)
  if settings.noise and keys is not None:
    # Relative to the features' own size, whatever the network.
    power = jnp.mean(jnp.square(z), axis=(1, 2, 3), keepdims=True)
    size = jnp.sqrt(power + 1e-12)
    drawn = jax.vmap(lambda k: jax.random.normal(k, z.shape[1:]))(keys)
    z = z + settings.noise * size * drawn
  return z


def seeded(phase: Phase, secret: int) -> Phase:
  """The phase with first parameters that depend on the secret, if there is one.

  Otherwise the module could be trained again by anybody who has the photographs
  and knows how it was trained. 0 is no secret.
  """
  if not secret:
    return phase

  def with_secret(method: Method) -> Method:
    def init(key, batch, frozen):
      low, high = secret & 0xFFFFFFFF, secret >> 32
      key = jax.random.fold_in(jax.random.fold_in(key, low), high)
      return method.init(key, batch, frozen)

    return method._replace(init=init)

  private = phase.private
  return phase._replace(
    method=with_secret(phase.method),
    private=private and (lambda *args: with_secret(private(*args))),
  )
