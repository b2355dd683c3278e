"""The game of four networks, and what is made of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import augmentation
from jaxpriv.data.records import ARCFACE_LANDMARKS, DOMAINS
from jaxpriv.methods.face_synthesis import settings
from jaxpriv.methods.face_synthesis.settings import REFERENCES, STARGAN
from jaxpriv.models import stargan
from jaxpriv.models.poisoning import content_keys
from jaxpriv.training import builders, combinators, extra_folder, recipes
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.builders import Move, Player
from jaxpriv.training.method import Method, Outputs, Phase
from jaxpriv.training.optimizers import make_optimizer

GENERATOR, MAPPING, STYLE, DISCRIMINATOR = (
  *("generator", "mapping", "style", "discriminator"),
)
# Details are kept within so much of the image's side about a point.
_ABOUT = 0.08
_LATENTS, _REFERENCES = "latents", REFERENCES


class Game:
  """The networks of a config, their losses, and what is made of them."""

  def __init__(self, config: ConfigDict):
    self.config, self.model = config, config.model
    self.names = settings.domains(config)
    self.target = self.names.index(self.model.target)
    # Domain of a record -> number of a head; -1: not learned.
    order = [self.names.index(d) if d in self.names else -1 for d in DOMAINS]
    self.heads = np.array(order, np.int32)
    dtype = jnp.dtype(config.dtype)
    model, count = self.model, len(self.names)
    encoder = lambda outputs, dtype: stargan.Encoder(
      count, outputs, dtype=dtype, **model.encoder
    )
    self.networks = {
      GENERATOR: stargan.Generator(dtype=dtype, **model.generator),
      MAPPING: stargan.Mapping(count, model.style, **model.mapping),
      STYLE: encoder(model.style, dtype),
      # Its gradient is trained, which wants float32.
      DISCRIMINATOR: encoder(1, jnp.float32),
    }

  def phase(self) -> Phase:
    options = self.config.phases[STARGAN]
    slow = options.copy_and_resolve_references()
    slow.learning_rate = options.learning_rate * self.model.mapping_rate
    players = {
      name: Player(
        network,
        make_optimizer(slow if name == MAPPING else options),
        self._inputs(name),
      )
      for name, network in self.networks.items()
    }
    judged, drawn = self._judged, self._drawn
    moves = {
      "discriminator_latents": Move((DISCRIMINATOR,), judged(_LATENTS)),
      "discriminator_references": Move((DISCRIMINATOR,), judged(_REFERENCES)),
      "generator_latents": Move((GENERATOR, MAPPING, STYLE), drawn(_LATENTS)),
      "generator_references": Move((GENERATOR,), drawn(_REFERENCES)),
    }
    phase = recipes.adversarial_phase(
      STARGAN,
      players,
      moves,
      options,
      transform=self.draw,
      outputs=Outputs(
        image=self._protect, drawn=self._various, sample=self._sample
      ),
    )
    method = combinators.with_schedules(phase.method, {"ds": self._ds})
    return phase._replace(method=method)

  def references(self) -> Phase:
    """Styles [R, style] of photographs, read off once, and releases in them."""

    def init(key, batch, frozen):
      arrays = extra_folder.read(settings.references(self.config))
      images = jnp.asarray(arrays["image"]).astype(jnp.float32) / 255
      params = builders.variables(frozen[STARGAN])["params"]
      encode = lambda image: self._networks(params)[STYLE](
        2 * image[None] - 1, jnp.full(1, self.target)
      )[0]
      return {"styles": jax.lax.map(encode, images, batch_size=32)}

    def shown_by(keys_of):
      def predict(state, frozen, batch):
        params = builders.variables(frozen[STARGAN])["params"]
        draw = lambda key: jax.random.randint(
          jax.random.fold_in(key, 0), (), 0, len(state["styles"])
        )
        chosen = mesh_lib.constrain(jax.vmap(draw)(keys_of(batch)))
        style = mesh_lib.constrain(state["styles"][chosen])
        return self._in_style(self._networks(params), batch, style)

      return predict

    outputs = Outputs(image=shown_by(self._keys), drawn=shown_by(self._numbers))
    method = Method(init, lambda state, *others: (state, {}), outputs)
    return Phase(REFERENCES, (STARGAN,), method)

  def _networks(self, params) -> dict[str, Callable]:
    """Functions of trained networks."""
    return {
      name: lambda *args, name=name, network=network: network.apply(
        {"params": params[name]}, *args
      )
      for name, network in self.networks.items()
    }

  def _ds(self, step: jax.Array) -> jax.Array:
    """The weight of diversity, which falls to 0."""
    share = 1 - step / self.model.weights.ds_steps
    return self.model.weights.ds * jnp.clip(share, 0, 1)

  def _inputs(self, name: str) -> Callable:
    def made(batch, frozen, key):
      images = batch["image"]
      zeros = lambda size: jnp.zeros((len(images), size))
      domain = jnp.zeros(len(images), jnp.int32)
      if name == GENERATOR:
        return images, zeros(self.model.style)
      return (zeros(self.model.latent) if name == MAPPING else images), domain

    return made

  def draw(self, key: jax.Array, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what a step needs to a batch, and mirrors half of it.

    Rows of a domain that is not learned become padding.

    Returns:
      the batch with domain, int32 [B], numbers of heads; target, likewise, of
      the fakes; references [B, 2, S, S, 3] of these domains, two rows if there
      are two; and latents [B, 2, latent].
    """
    mirror, domains, rows, noise = jax.random.split(key, 4)
    batch = augmentation.random_mirror(mirror, batch)
    head = jnp.asarray(self.heads)[batch["domain"]]
    padding = batch["padding"] | (head < 0)
    head = jnp.maximum(head, 0)
    count, shape = len(head), batch["image"].shape[1:]
    # Flat: gathered as images of three channels, they took 17 GB of a TPU.
    every, usable, pictures = mesh_lib.gather(
      (head, jnp.logical_not(padding), batch["image"].reshape(count, -1))
    )
    there = (every[:, None] == jnp.arange(len(self.names))) & usable[:, None]
    # No row is usable: the loss is of none, but must stay finite.
    odds = jnp.where(there.any(0), 0.0, -1e9)
    target = jax.random.categorical(domains, odds, shape=(count,))
    fits = (every[None] == target[:, None]) & usable[None]
    scores = jax.random.gumbel(rows, fits.shape) + jnp.where(fits, 0.0, -1e9)
    _, chosen = jax.lax.top_k(scores, 2)
    # A domain with one row: it is both references.
    enough = jnp.take_along_axis(fits, chosen[:, 1:], 1)
    chosen = jnp.where(enough, chosen, chosen[:, :1])
    references = mesh_lib.constrain(pictures[chosen])
    latents = jax.random.normal(noise, (count, 2, self.model.latent))
    return {
      **batch,
      "padding": padding,
      "domain": head,
      "target": mesh_lib.constrain(target),
      _REFERENCES: references.reshape(count, 2, *shape),
      _LATENTS: mesh_lib.constrain(latents),
    }

  def _keep(self, batch: Mapping[str, Any]) -> jax.Array | None:
    """Where the high-pass skip keeps details, [B, S, S, 1], if there is one."""
    if not self.model.generator.high_pass or "landmarks" not in batch:
      return None
    side = batch["image"].shape[1]
    points = batch["landmarks"][:, : len(ARCFACE_LANDMARKS)]
    place = jnp.arange(side, dtype=jnp.float32)
    width = 2 * (_ABOUT * side) ** 2
    near = jnp.exp(-jnp.square(place - points[..., None]) / width)
    both = near[:, :, 1, :, None] * near[:, :, 0, None]
    return jnp.nan_to_num(both).max(1)[..., None]

  def _styles(self, applies, batch, source: str) -> list[jax.Array]:
    """Both styles [B, style] of the fakes of a move."""
    if source == _LATENTS:
      make, inputs = applies[MAPPING], batch[_LATENTS]
    else:
      make, inputs = applies[STYLE], 2 * batch[_REFERENCES] - 1
    return [make(inputs[:, i], batch["target"]) for i in range(2)]

  def _judged(self, source: str) -> Callable:
    """The loss of the discriminator."""

    def loss(applies, batch, frozen, key):
      x = 2 * batch["image"] - 1
      style = self._styles(applies, batch, source)[0]
      fake = applies[GENERATOR](x, style, self._keep(batch))
      fake = jax.lax.stop_gradient(fake)
      with jax.default_matmul_precision("highest"):
        real, pull = jax.vjp(
          lambda x: applies[DISCRIMINATOR](x, batch["domain"])[:, 0], x
        )
        (slope,) = pull(jnp.ones_like(real))
        false = applies[DISCRIMINATOR](fake, batch["target"])[:, 0]
      penalty = 0.5 * jnp.square(slope).sum((1, 2, 3))
      losses = jax.nn.softplus(-real) + jax.nn.softplus(false)
      losses += self.model.weights.reg * penalty
      return losses, {
        "real": jax.nn.sigmoid(real),
        "fake": jax.nn.sigmoid(false),
        "penalty": penalty,
      }

    return loss

  def _drawn(self, source: str) -> Callable:
    """The loss of the generator."""

    def loss(applies, batch, frozen, key):
      x, keep = 2 * batch["image"] - 1, self._keep(batch)
      generate, encode = applies[GENERATOR], applies[STYLE]
      first, second = self._styles(applies, batch, source)
      fake = generate(x, first, keep)
      logits = applies[DISCRIMINATOR](fake, batch["target"])[:, 0]
      style = jnp.abs(encode(fake, batch["target"]) - first).mean(1)
      other = jax.lax.stop_gradient(generate(x, second, keep))
      diversity = jnp.abs(fake - other).mean((1, 2, 3))
      own = encode(x, batch["domain"])
      cycle = jnp.abs(generate(fake, own, keep) - x).mean((1, 2, 3))
      weights = self.model.weights
      losses = (
        jax.nn.softplus(-logits)
        + weights.sty * style
        - batch["ds"] * diversity
        + weights.cyc * cycle
      )
      return losses, {"style": style, "diversity": diversity, "cycle": cycle}

    return loss

  def _shown(self, applies, batch, latents: jax.Array, domain: int):
    """Photographs in a domain, in styles of latents [B, latent]; in [0, 1]."""
    domains = jnp.full(len(latents), domain, jnp.int32)
    return self._in_style(applies, batch, applies[MAPPING](latents, domains))

  def _in_style(self, applies, batch, style: jax.Array) -> jax.Array:
    """Photographs in styles [B, style]; in [0, 1]."""
    fake = applies[GENERATOR](2 * batch["image"] - 1, style, self._keep(batch))
    return jnp.clip((fake + 1) / 2, 0, 1)

  def _keys(self, batch) -> jax.Array:
    """Random keys [B] of each photograph or track."""
    return content_keys(batch["image"], self.model.secret, batch.get("track"))

  def _numbers(self, batch) -> jax.Array:
    """Random keys [B] by numbers in the data."""
    root = jax.random.key(self.model.secret)
    return jax.vmap(lambda n: jax.random.fold_in(root, n))(batch["index"])

  def _latents(self, keys: jax.Array, number: int | None = 0) -> jax.Array:
    """Noise [B, latent] of keys; of the release for number 0."""

    def draw(key):
      key = key if number is None else jax.random.fold_in(key, number)
      return jax.random.normal(key, (self.model.latent,))

    return mesh_lib.constrain(jax.vmap(draw)(keys))

  def _protect(self, applies, batch, frozen):
    latents = self._latents(self._keys(batch))
    return self._shown(applies, batch, latents, self.target)

  def _various(self, applies, batch, frozen):
    """Photographs in the target, in styles of their number in the data."""
    latents = self._latents(self._numbers(batch), None)
    return self._shown(applies, batch, latents, self.target)

  def _sample(self, applies, batch, frozen):
    """Each domain by noise; and one by the next photograph of the batch."""
    shown = {"original": batch["image"]}
    for i, name in enumerate(self.names):
      for number in range(2 if i == self.target else 1):
        latents = self._latents(self._keys(batch), number)
        title = f"to {name}, {number + 1}"
        shown[title] = self._shown(applies, batch, latents, i)
    references = jnp.roll(mesh_lib.gather(batch["image"]), 1, 0)
    domains = jnp.roll(mesh_lib.gather(batch["domain"]), 1)
    heads = jnp.maximum(jnp.asarray(self.heads)[domains], 0)
    references, heads = map(mesh_lib.constrain, (references, heads))
    style = applies[STYLE](2 * references - 1, heads)
    shown["reference"] = references
    shown["shown as the reference"] = self._in_style(applies, batch, style)
    return shown  # in the order of the alphabet
