"""A toy of StarGAN v2: four networks, four moves a step; and one by hand.

Choi et al., "StarGAN v2", 2020, at 8 x 8 pixels, two domains, no norms. The
step is that of the reference (core/solver.py): the discriminator against fakes
from latents, then from references, with R1 each time; the generator, the
mapping network and the style encoder from latents; the generator alone from
references.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpriv.training import builders
from jaxpriv.training.method import Outputs
from tests.training import toys

DOMAINS, STYLE, LATENT = 2, 3, 4


def head(x, domain):
  """One of the outputs of each domain [B, DOMAINS, ...]."""
  return jnp.take_along_axis(
    x, domain.reshape(-1, *[1] * (x.ndim - 1)), axis=1
  )[:, 0]


class Generator(nn.Module):
  """Images [B, 8, 8, 3] and styles [B, STYLE] -> images."""

  @nn.compact
  def __call__(self, x, style, train):
    h = nn.Conv(8, (3, 3))(x)
    h = nn.leaky_relu(h * (1 + nn.Dense(8)(style)[:, None, None]), 0.2)
    return nn.Conv(3, (3, 3))(h)


class Mapping(nn.Module):
  """Latents [B, LATENT] and domains [B] -> styles."""

  @nn.compact
  def __call__(self, z, domain, train):
    h = nn.leaky_relu(nn.Dense(8)(z), 0.2)
    h = nn.Dense(DOMAINS * STYLE)(h)
    return head(h.reshape(-1, DOMAINS, STYLE), domain)


class Encoder(nn.Module):
  """Images and domains -> outputs [B, size]: of styles, or of realness."""

  size: int

  @nn.compact
  def __call__(self, x, domain, train):
    h = nn.leaky_relu(nn.Conv(8, (3, 3), strides=2)(x), 0.2)
    h = nn.Dense(DOMAINS * self.size)(h.reshape(len(h), -1))
    return head(h.reshape(-1, DOMAINS, self.size), domain)


NETWORKS = {
  "generator": Generator(),
  "mapping": Mapping(),
  "style": Encoder(STYLE),
  "discriminator": Encoder(1),
}


def optimizer(name):
  """Torch's Adam with L2; its eps is large, or rounding would be blown up."""
  rate = 1e-4 if name == "mapping" else 1e-2
  return optax.chain(
    optax.add_decayed_weights(1e-4),
    optax.scale_by_adam(b1=0.0, b2=0.99, eps=1e-2),
    optax.scale(-rate),
  )


def batch(rows=16, seed=0):
  rng = np.random.default_rng(seed)
  image = lambda: rng.integers(
    0, 256, (rows, toys.SIDE, toys.SIDE, 3), np.uint8
  )
  return {
    "image": image(),
    "domain": rng.integers(0, DOMAINS, rows),
    "target": rng.integers(0, DOMAINS, rows),
    "references": np.stack([image(), image()], 1).astype(np.float32) / 255,
    "latents": rng.normal(size=(rows, 2, LATENT)).astype(np.float32),
    "padding": np.zeros(rows, bool),
  }


def float_batch(rows=16, seed=0):
  made = batch(rows, seed)
  made["image"] = made["image"].astype(np.float32) / 255
  return {name: jnp.asarray(value) for name, value in made.items()}


def styles(applies, batch, source):
  """The two styles of each row, from its latents or its references."""
  if source == "latents":
    name, inputs = "mapping", batch["latents"]
  else:
    name, inputs = "style", batch["references"]
  return [applies[name](inputs[:, i], batch["target"]) for i in range(2)]


def discriminator_loss(applies, batch, source):
  x, y = batch["image"], batch["target"]
  real = lambda x: applies["discriminator"](x, batch["domain"])[:, 0]
  fake = applies["generator"](x, styles(applies, batch, source)[0])
  logits = applies["discriminator"](fake, y)[:, 0]
  slope = jax.grad(lambda x: real(x).sum())(x)
  penalty = 0.5 * jnp.square(slope).sum((1, 2, 3))
  losses = jax.nn.softplus(-real(x)) + jax.nn.softplus(logits) + penalty
  return losses, {"r1": penalty}


def generator_loss(applies, batch, source):
  x, y, generate = batch["image"], batch["target"], applies["generator"]
  first, second = styles(applies, batch, source)
  fake = generate(x, first)
  logits = applies["discriminator"](fake, y)[:, 0]
  style = jnp.abs(applies["style"](fake, y) - first).mean(1)
  other = jax.lax.stop_gradient(generate(x, second))
  diversity = jnp.abs(fake - other).mean((1, 2, 3))
  own = applies["style"](x, batch["domain"])
  cycle = jnp.abs(generate(fake, own) - x).mean((1, 2, 3))
  losses = jax.nn.softplus(-logits) + style - diversity + cycle
  return losses, {"cycle": cycle}


MOVES = {
  "discriminator_latents": (("discriminator",), discriminator_loss, "latents"),
  "discriminator_references": (
    ("discriminator",), discriminator_loss, "references"
  ),
  "generator_latents": (
    ("generator", "mapping", "style"), generator_loss, "latents"
  ),
  "generator_references": (("generator",), generator_loss, "references"),
}  # fmt: skip


def inputs(name):
  def made(batch, frozen, key):
    x, y = batch["image"], batch["target"]
    if name == "generator":
      return x, jnp.zeros((len(x), STYLE))
    return (batch["latents"][:, 0] if name == "mapping" else x), y

  return made


def method(**options):
  """The game as the builder makes it."""

  def bound(loss, source):
    return lambda applies, batch, frozen, key: loss(applies, batch, source)

  return builders.adversarial(
    {
      name: builders.Player(network, optimizer(name), inputs(name))
      for name, network in NETWORKS.items()
    },
    {
      name: builders.Move(updates, bound(loss, source))
      for name, (updates, loss, source) in MOVES.items()
    },
    outputs=Outputs(
      image=lambda applies, batch, frozen: applies["generator"](
        batch["image"], styles(applies, batch, "latents")[0]
      )
    ),
    **options,
  )


def step_by_hand(params, opt, batch, clip_norm=0.0):
  """(params, opt, losses) after a step, of jax.grad and optax alone."""
  params, opt, losses = dict(params), dict(opt), {}
  for name, (updates, loss, source) in MOVES.items():

    def objective(mine, loss=loss, source=source):
      everybody = {**params, **mine}
      applies = {
        n: lambda *args, n=n: NETWORKS[n].apply(
          {"params": everybody[n]}, *args, train=True
        )
        for n in NETWORKS
      }
      losses, _ = loss(applies, batch, source)
      examples = jnp.logical_not(batch["padding"])
      return jnp.where(examples, losses, 0).sum() / examples.sum()

    mine = {n: params[n] for n in updates}
    losses[name], grads = jax.value_and_grad(objective)(mine)
    if clip_norm:
      norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
      scale = jnp.minimum(1.0, clip_norm / norm)
      grads = jax.tree.map(lambda g, scale=scale: g * scale, grads)
    for n in updates:
      change, opt[n] = optimizer(n).update(grads[n], opt[n], params[n])
      params[n] = optax.apply_updates(params[n], change)
  return params, opt, losses
