"""LowKey: perturbations that move a photograph away in the eyes of recognisers.

Cherepanova et al., "LowKey: Leveraging Adversarial Attacks to Protect Social
Media Users from Facial Recognition", ICLR 2021, equation (1). In the place of x
a photograph x' near it is released, found by signed gradient ascent on

  mean_i (|f_i(x) - f_i(x')|^2 + |f_i(x) - f_i(G(x'))|^2) / (2 |f_i(x)|^2)

where f_i are recognisers and G is a Gaussian filter, without which what is
added would be lost in smoothing.

Its purpose is to poison a gallery: whoever scrapes photographs of a person is
to enrol what does not match new, clear photographs. It is no de-identification.
Images go on looking like the person, to people and to most recognisers that
were not in the ensemble, or are trained on perturbed images, and a perturbation
once published cannot be changed when better recognisers come (Radiya-Dixit et
al., "Data Poisoning Won't Save You From Facial Recognition", ICLR 2022).

Decided here:

* The paper subtracts LPIPS(x, x'), a distance by a network of others, and its
  program also bounds |x' - x| by 0.05. Here there is the bound alone, rounded
  down to whole levels of eight bits, so that it also holds of files.
* Distances are relative to |f|^2; the paper divides by |f|, which lets
  recognisers with long features outweigh others.
* The ascent starts at one fixed draw of noise, a function of config.seed, as
  the gain has no slope at x itself.
* The ensemble is of recognisers that this run trains on its training people,
  and of pretrained ones that are named in model.pretrained. A witness of the
  evaluation that is also of the ensemble is no independent one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv import platforms
from jaxpriv.data import filters, pretrained
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.models import backbones
from jaxpriv.models.heads import MarginRecogniser
from jaxpriv.models.pretrained.catalogue import NETWORKS, RECOGNISERS
from jaxpriv.models.pretrained.frames import from_aligned
from jaxpriv.training import recipes, transfer
from jaxpriv.training.builders import variables
from jaxpriv.training.mechanism import Load
from jaxpriv.training.method import Outputs, Phase, untrained

LOWKEY = "lowkey"
START = 0.005  # of the noise, as in the authors' program
LEVELS = 255

# images [B, H, W, C] in [0, 1] -> features [B, D].
Embed = Callable[[jax.Array], jax.Array]


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks the pretrained recognisers, and what is taken over untrained.

  Raises:
    DataError: a pretrained one was not fetched, or another was trained with
      other settings.
  """
  del data
  if reason := unfit(config, {}):
    raise DataError(f"config.model.pretrained: {reason}")
  made_with = {
    name: (f"model.recognisers.{name}", "data.image_size", "data.align")
    for name in config.model.recognisers
  }
  transfer.check_copied(config, made_with, load)


def unfit(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> str:
  """Why photographs cannot be protected so; "" if they can."""
  del arrays
  for name in words(config.model.pretrained):
    if not pretrained.is_here(name):
      return f"its recogniser {name} is not here: {pretrained.FETCH}"
  return ""


def phases(config: ConfigDict) -> list[Phase]:
  """One phase for each recogniser, and one, without training, that protects.

  Args:
    config: with model.bound, of a pixel's change, in (0, 1); model.steps and
      model.rate of the ascent; model.sigma of the filter, a share of the side;
      model.recognisers, name -> architecture, head and the settings of the
      network; and model.pretrained, names of pretrained recognisers, which read
      images framed as ArcFace does.

  Raises:
    SettingError: there is no recogniser, or a setting is out of its range.
  """
  model = config.model
  named = words(model.pretrained)
  unknown = [name for name in named if name not in RECOGNISERS]
  if unknown:
    raise SettingError(
      f"config.model.pretrained names {', '.join(unknown)}: the pretrained"
      f" recognisers are {', '.join(RECOGNISERS)}"
    )
  if not (model.recognisers or named):
    raise SettingError(
      "LowKey needs a recogniser: name one in config.model.recognisers or"
      " config.model.pretrained"
    )
  if not 1 <= model.bound * LEVELS < LEVELS:
    raise SettingError(
      "config.model.bound is the largest change of a pixel, at least 1/255 and"
      f" below 1, not {model.bound}"
    )
  backbone = {
    name: _backbone(settings) for name, settings in model.recognisers.items()
  }
  people = config.data.num_people
  trained = [
    recipes.recognition(
      name,
      network,
      people,
      config.phases[name],
      head=model.recognisers[name].head,
    )
    for name, network in backbone.items()
  ]

  def protect(state, frozen, batch):
    own = [
      _trained(MarginRecogniser(network, people), frozen[name])
      for name, network in backbone.items()
    ]
    return perturbed(
      batch["image"],
      [*own, *map(_pretrained, named)],
      bound=model.bound,
      steps=model.steps,
      rate=model.rate,
      sigma=model.sigma * min(batch["image"].shape[1:3]),
      seed=config.seed,
    )

  method = untrained(Outputs(image=protect))
  return [*trained, Phase(LOWKEY, tuple(backbone), method)]


def _backbone(settings):
  own = {k: v for k, v in settings.items() if k not in ("architecture", "head")}
  return backbones.make(settings.architecture, **own)


def _trained(network: MarginRecogniser, state: Any) -> Embed:
  weights = variables(state)

  def embed(images: jax.Array) -> jax.Array:
    features: Any = network.apply(weights, images, method="embed")
    return features

  return embed


def _pretrained(name: str) -> Embed:
  network = NETWORKS[name]
  params = {k: jnp.asarray(v) for k, v in pretrained.load(name).items()}

  def embed(images):
    framed = from_aligned(network.frame, images)
    return network.apply(params, framed)["embedding"]

  return embed


def perturbed(
  images: jax.Array,
  ensemble: Sequence[Embed],
  *,
  bound: float,
  steps: int,
  rate: float,
  sigma: float,
  seed: int,
) -> jax.Array:
  """Moves images away from themselves in the eyes of an ensemble.

  Args:
    images: [B, H, W, C] in [0, 1].
    ensemble: recognisers.
    bound: of the change of a pixel, rounded down to whole levels of 1/255.
    steps: of the ascent.
    rate: change of a pixel in a step.
    sigma: of the Gaussian filter, in pixels.
    seed: of the start.

  Returns:
    [B, H, W, C] in [0, 1], within the bound of the images, also when both are
    in eight bits. Each is a function of its image and the seed alone.
  """
  x = images.astype(jnp.float32)
  # The nudge keeps what is a whole number of levels but for rounding.
  limit = np.floor(bound * LEVELS + 1e-4) / LEVELS
  low, high = jnp.maximum(x - limit, 0), jnp.minimum(x + limit, 1)
  clear = [jax.lax.stop_gradient(embed(x)) for embed in ensemble]

  def gain(y):
    seen = jnp.concatenate([y, smoothed(y, sigma)])
    return sum(
      jnp.sum(distance(jnp.concatenate([features] * 2), embed(seen)))
      for features, embed in zip(clear, ensemble, strict=True)
    )

  def ascend(step, y):
    return jnp.clip(y + rate * jnp.sign(jax.grad(gain)(y)), low, high)

  start = jax.random.uniform(
    jax.random.key(seed), x.shape[1:], minval=-START, maxval=START
  )
  y = jnp.clip(x + start, low, high)
  # XLA's convolution gradients crawl in a loop on a CPU.
  unroll = platforms.on_cpu()
  y = jax.lax.fori_loop(0, steps, ascend, y, unroll=unroll or None)
  return y.astype(images.dtype)


def distance(a: jax.Array, b: jax.Array) -> jax.Array:
  """|a - b|^2 / |a|^2 of rows of two [B, D], [B]."""
  square = lambda x: jnp.sum(jnp.square(x), axis=1)
  return square(a - b) / jnp.maximum(square(a), 1e-12)


def smoothed(images: jax.Array, sigma: float) -> jax.Array:
  """[B, H, W, C] under a Gaussian filter; borders are repeated."""
  # Cut at one sigma, as the paper's 7 x 7 of sigma 3 is.
  return filters.gaussian_blur(images, sigma, int(np.ceil(sigma)))
