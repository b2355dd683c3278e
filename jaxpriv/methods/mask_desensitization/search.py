"""Algorithm 1: the best of many random masks, scored by one program.

Candidate i is a function of the seed and of i: its brush, hidden ratio and
strokes are drawn, and the pixels of the template stay visible. All candidates
are scored on the same photographs, of the first batch, by

  J = loss - gamma * privacy

and the least J wins, the first of equals. A step scores `at_once` candidates,
which are shared out among the devices; the state keeps the scores of all. A
candidate is on the front if no other one has less loss and more privacy.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.data import masks
from jaxpriv.data.strokes import Strokes, with_ratio
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Outputs, Phase, State

WORST = 1e9  # of no mask yet, and of one that cannot be scored
WHOLE = ("number", "min_vertex", "max_vertex")  # of strokes: whole numbers

Frozen = Mapping[str, State]
# (photographs: image, identity and known, keep [N, S, S], frozen) -> [N]
Score = Callable[[Mapping[str, jax.Array], jax.Array, Frozen], jax.Array]


def phase(
  name: str,
  needs: tuple[str, ...],
  options: ConfigDict,
  steps: int,
  seed: int,
  template: Callable[[Frozen], jax.Array],
  loss: Score,
  privacy: Score,
  paired: bool = False,
  apart: int | None = None,
) -> Phase:
  """The search as a phase.

  Args:
    name: of the phase.
    needs: phases whose states the functions read.
    options: at_once, photographs (how many candidates are scored on), gamma,
      hidden (least and most), strokes (the range of each field of `Strokes`),
      drawn and segments; see `candidate`.
    steps: of the phase, so that steps * at_once candidates are scored.
    seed: of the candidates.
    template: frozen -> bool [S, S], always visible.
    loss: of recognition, lower is better.
    privacy: greater is better; the hidden ratio in the paper.
    paired: whether photographs of people who are twice in the batch come first.
    apart: candidates are scored on no people whose number this divides.

  Returns:
    a phase whose state has "keep" bool [S, S], the best mask, its "number",
    "score", and of all candidates "scores", "losses", "privacies" and "hidden"
    [steps * at_once].
  """
  at_once, total = options.at_once, max(steps, 1) * options.at_once
  chosen = partial(
    _photographs, count=options.photographs, paired=paired, apart=apart
  )

  def init(key, batch, frozen):
    del key, frozen
    batch = mesh_lib.gather(batch)
    side = batch["image"].shape[1:3]
    zeros = lambda: jnp.zeros(total)
    return {
      "step": jnp.zeros((), jnp.int32),
      "photographs": chosen(batch),
      "keep": jnp.zeros(side, bool),
      "number": jnp.zeros((), jnp.int32),
      "score": jnp.full((), WORST, jnp.float32),
      "scores": zeros(),
      "losses": zeros(),
      "privacies": zeros(),
      "hidden": zeros(),
    }

  def step(state, frozen, batch, key):
    del batch, key
    photographs = state["photographs"]
    everywhere = mesh_lib.gather(photographs)
    critical = template(frozen)
    numbers = state["step"] * at_once + jnp.arange(at_once)
    draw = lambda number: candidate(seed, number, critical, options)
    keep = jax.vmap(draw)(mesh_lib.constrain(numbers))
    found = {
      "losses": loss(everywhere, keep, frozen),
      "privacies": privacy(everywhere, keep, frozen),
      "hidden": masks.hidden_ratio(keep),
    }
    scores = found["losses"] - options.gamma * found["privacies"]
    found["scores"] = jnp.where(jnp.isfinite(scores), scores, WORST)
    found = mesh_lib.gather(found)
    best = jnp.argmin(found["scores"])
    better = found["scores"][best] < state["score"]
    take = lambda new, old: jnp.where(better, new, old)
    start = state["step"] * at_once
    new = {
      **state,
      "step": state["step"] + 1,
      "photographs": photographs,
      "keep": take(keep[best], state["keep"]),
      "number": take(start + best, state["number"]),
      "score": take(found["scores"][best], state["score"]),
      **{
        name: jax.lax.dynamic_update_slice(state[name], values, (start,))
        for name, values in found.items()
      },
    }
    return new, {
      "best_score": new["score"],
      "best_hidden": masks.hidden_ratio(new["keep"]),
      "score": found["scores"].mean(),
      "loss": found["losses"].mean(),
      "privacy": found["privacies"].mean(),
      "hidden": found["hidden"].mean(),
      "photographs": photographs["known"].sum(),
    }

  def sample(state, frozen, batch):
    shown = jnp.broadcast_to(state["keep"], batch["image"].shape[:3])[..., None]
    chart = jnp.broadcast_to(candidates(state, at_once), batch["image"].shape)
    return {
      "original": batch["image"],
      "best mask so far": batch["image"] * shown,
      "mask": mesh_lib.constrain(
        jnp.repeat(shown, 3, -1).astype(batch["image"].dtype)
      ),
      "loss by privacy": mesh_lib.constrain(chart),
    }

  return Phase(name, needs, Method(init, step, Outputs(sample=sample)))


def _photographs(
  batch: Mapping[str, jax.Array],
  count: int,
  paired: bool = False,
  apart: int | None = None,
) -> dict[str, jax.Array]:
  """The photographs that candidates are scored on; known ones come first."""
  identity = batch["identity"]
  known = jnp.logical_not(batch["padding"]) & (identity >= 0)
  if apart:
    known &= identity % apart != 0
  last = jnp.iinfo(jnp.int32).max
  key = jnp.where(known, 0, last)
  if paired:
    same = (identity[:, None] == identity[None]) & known[:, None] & known[None]
    key = jnp.where(same.sum(1) > 1, identity, last - known)
  rows = jnp.argsort(key, stable=True)[:count]
  return {
    "image": batch["image"][rows],
    "identity": identity[rows],
    "known": known[rows],
  }


def front(losses: jax.Array, privacies: jax.Array) -> jax.Array:
  """The Pareto front: bool [N], True for whom no other one dominates.

  Another one dominates that has no more loss and no less privacy, and is not
  its equal in both.
  """
  no_worse = (losses[None] <= losses[:, None]) & (
    privacies[None] >= privacies[:, None]
  )
  better = (losses[None] < losses[:, None]) | (
    privacies[None] > privacies[:, None]
  )
  return jnp.logical_not((no_worse & better).any(1))


def candidates(state: State, at_once: int) -> jax.Array:
  """A chart of the candidates so far, float32 [S, S, 3] in [0, 1].

  Up is more loss, and right is more privacy, from the least to the most; grey
  are candidates, darker where there are many, blue those on the front, and red
  is the best.
  """
  side = state["keep"].shape[0]
  losses, privacies = state["losses"], state["privacies"]
  scored = jnp.arange(len(losses)) < state["step"] * at_once
  scored &= jnp.isfinite(losses) & jnp.isfinite(privacies)
  worst = jnp.where(scored, losses, jnp.inf)
  on_front = front(worst, jnp.where(scored, privacies, -jnp.inf)) & scored

  def place(values):
    low = jnp.where(scored, values, jnp.inf).min()
    high = jnp.where(scored, values, -jnp.inf).max()
    share = (values - low) / jnp.maximum(high - low, 1e-12)
    share = jnp.where(scored, share, 0)
    return jnp.clip(share * (side - 3) + 1, 1, side - 2).astype(jnp.int32)

  rows, columns = side - 1 - place(losses), place(privacies)
  count = jnp.zeros((side, side)).at[rows, columns].add(scored)
  chart = jnp.repeat(
    jnp.where(count > 0, 0.8 / (1 + count), 1)[..., None], 3, 2
  )
  blue, red = jnp.array([0.1, 0.3, 1.0]), jnp.array([0.9, 0.1, 0.1])
  best = (state["step"] > 0) & (jnp.arange(len(losses)) == state["number"])
  around = jnp.arange(-1, 2)
  for which, colour in (on_front, blue), (best, red):
    down = jnp.where(which, rows, 2 * side)  # beyond the edge: not drawn
    chart = chart.at[
      down[:, None, None] + around[:, None], columns[:, None, None] + around
    ].set(colour, mode="drop")
  return chart


def candidate(
  seed: int,
  number: jax.Array | int,
  critical: jax.Array,
  options: Mapping[str, Any],
) -> jax.Array:
  """Candidate `number`, bool [S, S]: all of it is drawn by seed and number.

  Args:
    seed: of the search.
    number: of the candidate.
    critical: bool [S, S], always visible.
    options: of the search: hidden, the least and the most ratio; strokes, field
      of `Strokes` -> its least and most; drawn, what strokes are, and
      segments, for how many there is room. Ratios and strokes are drawn evenly
      between these; a ratio that the critical pixels do not leave is met as
      nearly as can be.
  """
  key = jax.random.fold_in(jax.random.key(seed), number)
  ratio, brush, strokes = jax.random.split(key, 3)
  chosen = jax.random.uniform(brush, (len(Strokes._fields),))
  values = {
    name: jnp.floor(low + share * (high - low + 1))
    if name in WHOLE
    else low + share * (high - low)
    for share, (name, (low, high)) in zip(
      chosen, _ranges(options["strokes"]).items(), strict=True
    )
  }
  values["max_vertex"] = jnp.maximum(values["min_vertex"], values["max_vertex"])
  least, most = options["hidden"]
  return with_ratio(
    strokes,
    jax.random.uniform(ratio, minval=least, maxval=most),
    Strokes(**values),
    critical.shape[0],
    drawn=options["drawn"],
    segments=options["segments"],
    critical=critical,
  )


def _ranges(strokes: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
  return {name: tuple(strokes[name]) for name in Strokes._fields}


def masked(images: jax.Array, keep: jax.Array, fill: float = 0.0) -> jax.Array:
  """Every image under every mask.

  Args:
    images: [B, S, S, 3].
    keep: [N, S, S].
    fill: what hidden pixels are.

  Returns:
    [N * B, S, S, 3], the images of a mask one after the other.
  """
  shown = keep[:, None, :, :, None]
  both = jnp.where(shown, images[None], jnp.asarray(fill, images.dtype))
  return mesh_lib.constrain(both.reshape(-1, *images.shape[1:]))


def mean_known(values: jax.Array, known: jax.Array) -> jax.Array:
  """[N * B] -> means [N] over the B photographs that are known."""
  rows = values.reshape(-1, len(known))
  return (rows * known).sum(1) / jnp.maximum(known.sum(), 1)


def pair_errors(
  embeddings: jax.Array, identity: jax.Array, known: jax.Array
) -> jax.Array:
  """How often a pair of two people is more alike than a pair of one person.

  One less the area under the curve of true against false accepts: pairs that
  are as alike count half, and embeddings that are not finite are like nobody's.
  It is a half where nobody is shown twice.

  Args:
    embeddings: [N, B, D].
    identity: [B].
    known: [B].

  Returns:
    [N].
  """
  norms = jnp.linalg.norm(embeddings, axis=-1, keepdims=True)
  unit = embeddings / jnp.maximum(norms, 1e-12)
  similarity = jnp.einsum("nid,njd->nij", unit, unit, precision="highest")
  similarity = jnp.nan_to_num(similarity, nan=-1.0)
  rows, columns = jnp.triu_indices(len(identity), 1)
  alike = similarity[:, rows, columns]
  used = known[rows] & known[columns]
  same = (identity[rows] == identity[columns]) & used
  other = (identity[rows] != identity[columns]) & used
  # Similarities of pairs of two people, ascending; inf stands for other pairs.
  others = jnp.sort(jnp.where(other, alike, jnp.inf), axis=1)
  place = jax.vmap(jnp.searchsorted, (0, 0))
  wins = place(others, alike) + jax.vmap(
    partial(jnp.searchsorted, side="right"), (0, 0)
  )(others, alike)
  right = jnp.where(same, wins, 0).sum(1) / 2
  trials = same.sum() * other.sum()
  return jnp.where(trials > 0, 1 - right / jnp.maximum(trials, 1), 0.5)
