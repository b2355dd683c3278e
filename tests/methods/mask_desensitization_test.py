"""Masks: what is found, what is shown, and what is given away with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import masks
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import mask_desensitization
from jaxpriv.methods.mask_desensitization import attacker, search, template
from jaxpriv.methods.mask_desensitization.recognisers import Recognisers
from jaxpriv.privacy import eigenfaces
from jaxpriv.privacy.eigenfaces import Eigenfaces
from jaxpriv.training import mechanism
from jaxpriv.training.mechanism import Trained
from tests import tiny

SIDE = 32


def batch(seed=0, rows=6, people=3):
  rng = np.random.default_rng(seed)
  return {
    "image": jnp.asarray(rng.random((rows, SIDE, SIDE, 3), np.float32)),
    "identity": jnp.asarray(np.arange(rows) % people, jnp.int32),
    "padding": jnp.zeros(rows, bool),
  }


# --- the search ---


def options(**changes):
  made = tiny.mask_desensitization().model.search
  with made.unlocked():
    made.update(changes)
  return made


def searched(steps=3, loss=None, critical=None, **changes):
  """(phase's final state, all candidates), of the batch of `init` alone."""
  chosen = options(**changes)
  if critical is None:
    critical = jnp.zeros((SIDE, SIDE), bool).at[4:9, 5:9].set(True)
  mean = lambda photographs, keep, frozen: jnp.stack(
    [jnp.where(k[..., None], photographs["image"], 0).mean() * 5 for k in keep]
  )
  phase = search.phase(
    "search", (), chosen, steps, 7, lambda frozen: critical, loss or mean,
    lambda photographs, keep, frozen: masks.hidden_ratio(keep),
  )  # fmt: skip
  state = phase.method.init(jax.random.key(0), batch(), {})
  step = jax.jit(phase.method.step)
  for i in range(steps):
    state, metrics = step(state, {}, batch(1 + i), jax.random.key(i))
  draw = lambda number: search.candidate(7, number, critical, chosen)
  keep = jax.vmap(draw)(jnp.arange(steps * chosen.at_once))
  return state, np.asarray(keep), np.asarray(critical), metrics


def test_the_best_of_all_candidates_wins_on_the_first_photographs():
  state, keep, critical, metrics = searched(gamma=0.7)
  images = np.asarray(batch(0)["image"], np.float64)
  losses = [5 * (images * k[..., None]).mean() for k in keep]
  hidden = 1 - keep.mean((1, 2))
  scores = np.array(losses) - 0.7 * hidden
  np.testing.assert_allclose(state["scores"], scores, rtol=1e-4)
  np.testing.assert_allclose(state["losses"], losses, rtol=1e-4)
  np.testing.assert_allclose(state["hidden"], hidden, atol=1e-6)
  best = int(np.argmin(scores))
  assert state["number"] == best
  np.testing.assert_array_equal(state["keep"], keep[best])
  np.testing.assert_allclose(metrics["best_score"], scores[best], rtol=1e-4)
  kept = state["photographs"]["image"]
  np.testing.assert_array_equal(kept, batch(0)["image"])


def test_candidates_keep_to_their_range_and_to_the_template():
  _, keep, critical, _ = searched(hidden=(0.5, 0.8), at_once=16)
  hidden = 1 - keep.mean((1, 2))
  assert (keep[:, critical]).all()
  assert 0.49 < hidden.min() < 0.6 and 0.7 < hidden.max() < 0.81
  assert len({k.tobytes() for k in keep}) == len(keep)


def test_the_first_of_equals_wins():
  same = lambda photographs, keep, frozen: jnp.zeros(len(keep))
  state, *_ = searched(loss=same, gamma=0.0)
  assert state["number"] == 0


def test_more_that_is_visible_never_hides_more():
  nothing = jnp.zeros((SIDE, SIDE), bool)
  less, more = (
    search.candidate(1, 5, nothing.at[:n].set(True), options()) for n in (2, 26)
  )
  assert masks.hidden_ratio(more) <= masks.hidden_ratio(less) + 1e-6
  assert masks.hidden_ratio(more) <= 1 - 26 / SIDE + 1e-6


def test_every_image_is_under_every_mask():
  images = batch()["image"]
  keep = jnp.stack([jnp.eye(SIDE, dtype=bool), jnp.ones((SIDE, SIDE), bool)])
  shown = search.masked(images, keep, 0.25)
  assert shown.shape == (12, SIDE, SIDE, 3)
  np.testing.assert_array_equal(shown[6:], images)
  eye = np.eye(SIDE, dtype=bool)
  np.testing.assert_array_equal(shown[:6, eye], images[:, eye])
  assert (shown[:6, ~eye] == 0.25).all()


def test_people_who_are_twice_in_a_batch_come_first():
  rows = batch(rows=12)
  identity = np.array([4, 7, 4, 1, 9, 7, 7, 2, 2, 5, 1, 3])
  rows["identity"] = jnp.asarray(identity)
  rows["padding"] = rows["padding"].at[8].set(True).at[3].set(True)
  got = search._photographs(rows, 6, paired=True)
  np.testing.assert_array_equal(got["identity"], [4, 4, 7, 7, 7, 9])
  assert got["known"].all()
  np.testing.assert_array_equal(
    got["image"][:5], rows["image"][np.array([0, 2, 1, 5, 6])]
  )
  plain = search._photographs(rows, 4)
  np.testing.assert_array_equal(plain["identity"], [4, 7, 4, 9])
  assert plain["known"].all()
  apart = search._photographs(rows, 7, apart=2)
  np.testing.assert_array_equal(apart["identity"][:5], [7, 9, 7, 7, 5])
  assert apart["known"].all()


def test_the_front_are_those_whom_nobody_dominates():
  rng = np.random.default_rng(3)
  losses, privacies = rng.integers(0, 9, (2, 40)).astype(np.float32)
  got = np.asarray(search.front(losses, privacies))
  for i in range(40):
    beaten = any(
      losses[j] <= losses[i]
      and privacies[j] >= privacies[i]
      and (losses[j], privacies[j]) != (losses[i], privacies[i])
      for j in range(40)
    )
    assert got[i] == (not beaten)
  assert 0 < got.sum() < 40


def test_the_chart_shows_candidates_their_front_and_the_best(rows_of_pixels):
  state, *_ = searched(steps=2)
  chart = np.asarray(search.candidates(state, 8))
  assert chart.shape == (SIDE, SIDE, 3)
  red = (chart == np.float32([0.9, 0.1, 0.1])).all(2)
  blue = (chart == np.float32([0.1, 0.3, 1.0])).all(2)
  assert 4 <= red.sum() <= 9 and (chart == 1).all(2).mean() > 0.9
  # The least loss is lowest, and the most privacy furthest right.
  row, column = (int(axis.mean().round()) for axis in np.nonzero(red))
  losses, privacies = (
    np.asarray(state["losses"]),
    np.asarray(state["privacies"]),
  )
  best = int(state["number"])
  up = (losses[best] - losses.min()) / np.ptp(losses)
  right = (privacies[best] - privacies.min()) / np.ptp(privacies)
  assert abs(row - (SIDE - 2 - up * (SIDE - 3))) <= 1.5
  assert abs(column - (1 + right * (SIDE - 3))) <= 1.5
  assert blue.any() or search.front(losses, privacies).sum() == 1
  # A candidate that cannot be scored is not drawn, and leaves the others.
  lost = np.flatnonzero(np.arange(16) != best)[0]
  broken = state["losses"].at[lost].set(jnp.nan)
  seen = search.candidates({**state, "losses": broken}, 8)
  assert np.isfinite(seen).all() and (seen != chart).mean() < 0.2
  before = search.candidates({**state, "step": jnp.zeros((), jnp.int32)}, 8)
  assert (np.asarray(before) == 1).all()


# --- what an attacker sees ---


@pytest.fixture(scope="module")
def faces():
  """A phase of eigenfaces, trained on smooth pictures, and some others."""
  rng = np.random.default_rng(0)
  waves = np.stack([
    np.cos(np.pi * f * (np.arange(SIDE) + 0.5) / SIDE) for f in range(1, 5)
  ])  # fmt: skip
  patterns = np.einsum("fi,gj->fgij", waves, waves).reshape(16, SIDE, SIDE, 1)

  def drawn(count):
    mixed = np.tensordot(rng.normal(size=(count, 16)), patterns, 1)
    return np.clip(0.5 + 0.05 * np.repeat(mixed, 3, -1), 0, 1)

  rows = {
    "image": jnp.float32(drawn(192)),
    "identity": jnp.arange(192),
    "padding": jnp.zeros(192, bool),
  }
  phase = attacker.phase("eigenfaces", 16)
  state = phase.method.init(jax.random.key(0), rows, {})
  state, metrics = jax.jit(phase.method.step)(state, {}, rows, None)
  assert metrics["explained"] > 0.9
  shown = phase.method.outputs.sample(state, {}, rows)
  whole = np.asarray(shown["original"])
  error = np.abs(shown["right half repaired"] - whole).mean()
  assert error < 0.2 * np.abs(whole - whole.mean(0)).mean()
  others = drawn(10)
  others[4] = rng.random(others[4].shape)  # and nobody may look at it
  photographs = {
    "image": jnp.float32(others),
    "identity": jnp.arange(10),
    "known": jnp.arange(10) != 4,
  }
  return {"eigenfaces": state}, photographs


KEEPS = jnp.stack([
  jnp.ones((SIDE, SIDE), bool),
  jnp.zeros((SIDE, SIDE), bool).at[:, :20].set(True),
  jnp.zeros((SIDE, SIDE), bool).at[:2, :2].set(True),
  jnp.zeros((SIDE, SIDE), bool),
])  # fmt: skip


def test_the_error_of_a_repair_is_that_of_known_photographs(faces):
  frozen, photographs = faces
  got = attacker.error("eigenfaces")(photographs, KEEPS, frozen)
  assert got[0] == 0 and got[3] == pytest.approx(1, abs=1e-5)
  assert got[1] < 0.3 < got[2] < 1
  model = Eigenfaces(**jax.tree.map(np.asarray, frozen["eigenfaces"]))
  images = np.asarray(photographs["image"], np.float64)
  rows = np.arange(10) != 4
  guess = eigenfaces.repair(model, np.float32(images), np.asarray(KEEPS[1]))
  error = np.square(guess - images)[rows].sum()
  blind = np.square(model.mean - images)[rows].sum()
  assert got[1] == pytest.approx(error / blind, rel=1e-2)


def test_identity_is_how_many_others_are_likelier(faces):
  frozen, photographs = faces
  gallery = photographs["image"].reshape(10, -1)

  def nearest(images, frozen):
    flat = images.reshape(len(images), 1, -1)
    return -jnp.square(flat - gallery).sum(2)

  got = attacker.identity("eigenfaces", nearest)(photographs, KEEPS, frozen)
  assert got[0] == 0 and got[1] < 0.2 < got[2]
  # Behind a mask of everything all are the mean face: whoever is named, the
  # place of each of ten people is another one; the fifth is not counted.
  mean = frozen["eigenfaces"]["mean"].reshape(1, 1, -1)
  off = np.asarray(jnp.square(mean - gallery).sum(2))[0]
  places = np.log1p(np.argsort(np.argsort(off))) / np.log(5.5)
  assert got[3] == pytest.approx(places[np.arange(10) != 4].mean(), abs=1e-4)
  blind = lambda images, frozen: jnp.zeros((len(images), 10))
  got = attacker.identity("eigenfaces", blind)(photographs, KEEPS, frozen)
  np.testing.assert_allclose(got, 1)


def test_errors_of_pairs_are_counted():
  rng = np.random.default_rng(0)
  embeddings = rng.normal(size=(2, 7, 4)).astype(np.float32)
  identity = np.array([0, 0, 1, 1, 1, 2, 2])
  known = np.array([1, 1, 1, 1, 1, 1, 0], bool)
  got = search.pair_errors(embeddings, identity, jnp.asarray(known))
  for row, value in zip(embeddings.astype(np.float64), got, strict=True):
    unit = row / np.linalg.norm(row, axis=1, keepdims=True)
    alike = unit @ unit.T
    pairs = [
      (i, j) for i in range(7) for j in range(i) if known[i] and known[j]
    ]
    same = [alike[i, j] for i, j in pairs if identity[i] == identity[j]]
    other = [alike[i, j] for i, j in pairs if identity[i] != identity[j]]
    wrong = np.mean([s < o for s in same for o in other])
    assert value == pytest.approx(wrong, abs=1e-5)
  nobody = search.pair_errors(embeddings, np.arange(7), jnp.ones(7, bool))
  np.testing.assert_array_equal(nobody, 0.5)
  for same in (1.0, np.nan):  # whatever the order of rows
    alike = np.full((1, 7, 4), same, np.float32)
    got = search.pair_errors(alike, identity, jnp.asarray(known))
    np.testing.assert_allclose(got, 0.5)


@pytest.fixture
def rows_of_pixels(monkeypatch):
  """Candidates that take no time to compile: as many rows as their number."""
  monkeypatch.setattr(
    search,
    "candidate",
    lambda seed, number, critical, options: jnp.broadcast_to(
      jnp.arange(SIDE)[:, None] < number % SIDE, (SIDE, SIDE)
    ),
  )


def test_a_candidate_that_cannot_be_scored_does_not_win(rows_of_pixels):
  def loss(photographs, keep, frozen):
    return (
      jnp.arange(len(keep))
      - 2.0
      + jnp.where(jnp.arange(len(keep)) == 0, jnp.nan, 0)
    )

  state, *_ = searched(loss=loss, gamma=0.0, steps=1)
  assert state["number"] == 1 and state["score"] == -1


def test_hyper_parameters_take_their_least_and_their_most(monkeypatch):
  seen = []
  monkeypatch.setattr(
    search, "with_ratio", lambda key, ratio, strokes, *a, **k: strokes
  )
  chosen = options(strokes=dict(
    options().strokes, number=(1, 4), min_vertex=(2, 3), max_vertex=(4, 12),
  ))  # fmt: skip
  nothing = jnp.zeros((SIDE, SIDE), bool)
  draw = jax.jit(lambda i: search.candidate(7, i, nothing, chosen))
  seen = [draw(i) for i in range(200)]
  values = lambda name: {float(getattr(s, name)) for s in seen}
  assert values("number") == {1, 2, 3, 4}
  assert values("min_vertex") == {2, 3}
  assert values("max_vertex") == set(range(4, 13))
  assert 0.1 <= min(values("max_length")) < max(values("max_length")) <= 0.5


# --- the template ---


def linear(images, frozen):
  """People are told by the brightness of one block each."""
  blocks = images.mean(3).reshape(len(images), 4, 8, 4, 8).mean((2, 4))
  return blocks.reshape(len(images), 16)[:, :3]


def test_the_mean_map_is_that_of_the_photographs_and_not_of_padding():
  phase = template.phase("template", (), linear, False)
  state = phase.method.init(jax.random.key(0), batch(), {})
  maps = []
  for seed in range(2):
    rows = batch(seed)
    if seed:
      rows["padding"] = rows["padding"].at[2].set(True)
    state, _ = jax.jit(phase.method.step)(state, {}, rows, jax.random.key(0))
    own = template.maps(linear, rows["image"], {}, False, rows["identity"])
    maps.append(np.asarray(own)[~np.asarray(rows["padding"])])
  maps = np.concatenate(maps)
  assert state["count"] == len(maps) == 11
  np.testing.assert_allclose(maps.max((1, 2)), 1, rtol=1e-5)
  mean = maps.mean(0)
  np.testing.assert_allclose(
    template.average(state), mean / mean.max(), rtol=1e-5, atol=1e-6
  )
  critical = np.asarray(template.critical(state, 0.5, 1.0))
  np.testing.assert_array_equal(critical, mean > 0.5 * mean.max())
  # Only blocks by which people are told are ever critical.
  assert critical.any() and not critical[9:].any()
  assert not critical[:, 25:].any()
  assert not np.asarray(template.critical(state, 1.0, 1.0)).any()
  few = np.asarray(template.critical(state, 0.5, 0.01))
  assert few.sum() == round(0.01 * SIDE * SIDE) and critical[few].all()


def test_each_photograph_may_have_its_own_share():
  maps = jnp.asarray(np.random.default_rng(0).random((3, SIDE, SIDE)))
  maps = maps.at[2].set(0)  # where nothing matters, as much is shown
  keep = np.asarray(template.most_salient(maps, 0.25))
  assert (keep.sum((1, 2)) == SIDE * SIDE // 4).all()
  assert (keep[0] != keep[1]).any()


# --- the mechanism ---


@pytest.fixture(scope="module", params=["one mask", "per image"])
def trained(request):
  config = tiny.mask_desensitization()
  if request.param == "per image":
    config.model.per_image = 0.75
  states = {}
  rows = batch(people=tiny.PEOPLE)
  phases = mask_desensitization.phases(config)
  for phase in phases:
    frozen = {name: states[name] for name in phase.needs}
    init = jax.jit(phase.method.init)
    states[phase.name] = init(jax.random.key(0), rows, frozen)
    if phase.name in ("template", "search", "mask"):
      step = jax.jit(phase.method.step)
      states[phase.name], _ = step(
        states[phase.name], frozen, rows, jax.random.key(1)
      )
  return config, Trained(tuple(phases), states)


def output(trained, name, rows):
  fn, state, frozen = trained.bound(name)
  return np.asarray(jax.jit(fn)(state, frozen, rows))


def test_images_show_what_masks_keep_and_nothing_else(trained):
  config, trained = trained
  rows = batch(1)
  image, keep = (output(trained, name, rows) for name in ("image", "keep"))
  shown = np.asarray(rows["image"]) * keep[..., None]
  np.testing.assert_array_equal(image, shown)
  if config.model.per_image:
    assert (1 - keep.mean((1, 2)) == 0.75).all()
    assert len({k.tobytes() for k in keep}) == len(keep)
  else:
    assert (keep == keep[0]).all() and 0.65 < 1 - keep[0].mean() < 0.9
    np.testing.assert_array_equal(keep[0], trained.states["search"]["keep"])


def test_the_masknet_reads_released_images_with_their_masks(trained):
  _, trained = trained
  rows = batch(1)
  image, keep = (output(trained, name, rows) for name in ("image", "keep"))
  released = {**rows, "image": image, "keep": keep}
  with_mask = output(trained, "embed", released)
  assert with_mask.shape[0] == 6 and np.isfinite(with_mask).all()
  # A mirror image under its mirrored mask is the same person.
  mirrored = {**released, "image": image[:, :, ::-1], "keep": keep[:, :, ::-1]}
  np.testing.assert_allclose(
    output(trained, "embed", mirrored), with_mask, rtol=1e-4, atol=1e-5
  )
  # A photograph that comes without a mask is wholly visible.
  ones = {**rows, "keep": np.ones_like(keep)}
  np.testing.assert_allclose(
    output(trained, "embed", rows), output(trained, "embed", ones), rtol=1e-5
  )


def test_a_masknet_may_learn_from_whole_photographs_too():
  """Those do not depend on the mask, and all others do."""
  rows = batch(people=tiny.PEOPLE)
  masks = (
    jnp.zeros((2, SIDE, SIDE), bool).at[0, :9].set(True).at[1, 9:].set(True)
  )

  def losses(clear):
    config = tiny.mask_desensitization(clear=clear)
    for phase in mask_desensitization.phases(config)[-1:]:
      method = phase.method
      state = method.init(jax.random.key(0), rows, {"mask": {"keep": masks[0]}})
      step = jax.jit(method.step)
      yield [
        float(
          step(state, {"mask": {"keep": m}}, rows, jax.random.key(1))[1]["loss"]
        )
        for m in masks
      ]

  for first, second in losses(1 - 1e-7):
    assert first == pytest.approx(second, rel=1e-5)
  for first, second in losses(0.0):
    assert abs(first - second) > 1e-3
  parts = Recognisers(tiny.mask_desensitization(clear=0.3))
  many = {"image": jnp.zeros((2000, 1))}
  clear = parts.some_clear(jax.random.key(0), many)["clear"]
  assert abs(clear.mean() - 0.3) < 0.05


def test_no_photograph_is_given_away_with_the_masknet(trained):
  """The search holds some; what is released is the last phase and its needs."""
  config, trained = trained
  given = [*trained.last.needs, trained.last.name]
  assert "search" not in given
  for name in given:
    assert "photographs" not in trained.states[name]
  target, *controls = mask_desensitization.targets(config, trained)
  assert target.products == ("image", "model")
  assert mask_desensitization.WHOLE in target.limits
  assert all(control.products == ("image",) for control in controls)


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      dict(utility="luck"),
      "utility is one of aware, clean, verification, none",
    ),
    (dict(privacy="luck"), "privacy is one of hidden, error, identity"),
    (dict(drawn="hole"), "search.drawn: 'hole' is neither 'holes' nor 'kept'"),
    (dict(photographs=0), "model.search.photographs = 0: it is a whole number"),
    (dict(gamma=-3.0), "model.search.gamma = -3.0: it is a finite number, 0"),
    (dict(photographs=17), "photographs = 17: they are of one batch, .* = 16"),
    (dict(utility="verification"), "hardly two show one person.*take 64 or"),
    (dict(hidden=(0.9, 0.7)), "hidden = .0.9, 0.7.: the least and the most"),
    (dict(hidden=(0.0, 1.0)), "between 0 and 1"),
    (dict(segments=2), "search: strokes of up to .* segments are longer"),
  ],
)
def test_a_search_that_cannot_be_is_refused(changes, message):
  config = tiny.mask_desensitization()
  config.model.search.update(changes)
  with pytest.raises(SettingError, match=message):
    mask_desensitization.phases(config)


@pytest.mark.parametrize("name", ["per_image", "clear"])
def test_a_share_that_leaves_nothing_or_all_is_refused(name):
  config = tiny.mask_desensitization(**{name: 1.0})
  with pytest.raises(
    SettingError, match=f"{name} = 1.0: it is a number from 0"
  ):
    mask_desensitization.phases(config)


def test_one_mask_and_a_mask_for_each_are_not_asked_for_at_once():
  config = tiny.mask_desensitization(mask="mask.png", per_image=0.7)
  with pytest.raises(SettingError, match="leave out one of the two"):
    mask_desensitization.phases(config)


def test_nothing_is_searched_for_that_nobody_needs():
  names = lambda **model: [
    p.name
    for p in mask_desensitization.phases(tiny.mask_desensitization(**model))
  ]
  assert names(per_image=0.7) == ["recogniser", "plain", "masknet"]
  assert names(layer=0)[-2:] == ["mask", "masknet"]


def test_a_random_mask_is_the_first_that_is_drawn():
  config = tiny.mask_desensitization("demo,random")
  listed = {p.name: p for p in mask_desensitization.phases(config)}
  assert "aware" not in listed
  found = listed["search"].method
  frozen = {"template": {"total": jnp.ones((SIDE, SIDE)), "count": 1.0}}
  state = found.init(jax.random.key(0), batch(rows=8), {})
  state, _ = jax.jit(found.step)(state, frozen, batch(rows=8), None)
  assert state["number"] == 0
  assert masks.hidden_ratio(state["keep"]) == pytest.approx(0.76, abs=0.01)
  nothing = jnp.zeros((SIDE, SIDE), bool)
  first = search.candidate(config.seed, 0, nothing, config.model.search)
  np.testing.assert_array_equal(state["keep"], first)


def test_candidates_may_be_scored_by_what_an_attacker_sees():
  config = tiny.mask_desensitization()
  config.model.search.privacy = "error"
  listed = {p.name: p for p in mask_desensitization.phases(config)}
  assert "eigenfaces" in listed["search"].needs
  config.model.search.privacy = "hidden"
  assert "eigenfaces" not in {
    p.name for p in mask_desensitization.phases(config)
  }


def test_candidates_may_be_scored_by_pairs():
  """Of photographs that are black everywhere all pairs are alike."""
  config = tiny.mask_desensitization()
  config.model.search.update(utility="verification", gamma=0.0)
  config.phases.search.batch_size = 64
  listed = {p.name: p for p in mask_desensitization.phases(config)}
  found = listed["search"]
  rows = batch(rows=8, people=tiny.PEOPLE)
  states = {"template": {"total": jnp.ones((SIDE, SIDE)), "count": 1.0}}
  for name in set(found.needs) - set(states):
    init = jax.jit(listed[name].method.init)
    states[name] = init(jax.random.key(0), rows, {})
  state = found.method.init(jax.random.key(0), rows, states)
  step = jax.jit(found.method.step)
  state, _ = step(state, states, rows, jax.random.key(0))
  losses = np.asarray(state["losses"])[:8]
  assert ((losses >= 0) & (losses <= 1)).all() and len(np.unique(losses)) > 1
  assert losses.argmin() == state["number"]
  assert state["score"] == pytest.approx(losses.min(), abs=1e-6)
  black = {**rows, "image": np.zeros_like(rows["image"])}
  state = found.method.init(jax.random.key(0), black, states)
  state, _ = step(state, states, black, jax.random.key(0))
  np.testing.assert_allclose(state["losses"][:8], 0.5, rtol=1e-6)


def test_a_mask_of_ones_own_takes_the_place_of_the_search(tmp_path):
  keep = np.random.default_rng(0).random((SIDE, SIDE)) < 0.3
  path = tmp_path / "mask.png"
  Image.fromarray(keep).save(path)
  config = tiny.mask_desensitization(mask=str(path), plain=False)
  mask_desensitization.check(config, None, lambda name: None)
  first, mask, masknet = mask_desensitization.phases(config)
  assert [first.name, mask.name, masknet.name] == [
    *("recogniser", "mask", "masknet"),
  ]
  state = mask.method.init(jax.random.key(0), batch(), {})
  step = jax.jit(mask.method.step)
  state, metrics = step(state, {}, batch(), jax.random.key(0))
  np.testing.assert_array_equal(state["keep"], keep)
  assert metrics["hidden"] == pytest.approx(1 - keep.mean(), abs=1e-6)
  released = masknet.method.outputs.keep({}, {"mask": state}, batch())
  np.testing.assert_array_equal(released, np.broadcast_to(keep, (6, 32, 32)))
  # Nobody else has the file, and the model is built without it.
  public = mechanism.public_config(config)
  assert public["model"]["mask"] == ""


@pytest.mark.parametrize("value, what", [(0, "every"), (255, "no pixel")])
def test_a_mask_that_does_nothing_or_too_much_is_refused(tmp_path, value, what):
  path = tmp_path / "mask.png"
  Image.new("L", (8, 8), value).save(path)
  config = tiny.mask_desensitization(mask=str(path))
  with pytest.raises(DataError, match=f"mask.png hides {what}"):
    mask_desensitization.check(config, None, lambda name: None)
