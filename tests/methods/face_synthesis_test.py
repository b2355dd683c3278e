"""Face synthesis: what a step draws, its four moves, and what is released."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import dataset
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DOMAINS, DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import face_synthesis
from jaxpriv.methods.face_synthesis import game as game_lib
from jaxpriv.methods.face_synthesis.game import Game
from jaxpriv.training import builders, inference
from tests import tiny

NOTHING = {}


def batch(rows=16, seed=0, domains=3):
  made = tiny.batch(rows, seed)
  made["domain"] = (np.arange(rows) % domains).astype(np.int32)
  return inference.as_float(jax.tree.map(jnp.asarray, made))


def game(argument="demo", **model):
  return Game(tiny.face_synthesis(argument, **model))


@pytest.fixture(scope="module")
def compiled():
  """(first state, compiled step) of the game for batches of eight rows."""
  method = game().phase().method
  state = method.init(jax.random.key(0), batch(8), NOTHING)
  return state, jax.jit(method.step)


def furthest(old, new):
  """The largest change of a number, player by player."""
  pairs = lambda name: zip(
    jax.tree.leaves(old["params"][name]),
    jax.tree.leaves(new["params"][name]),
    strict=True,
  )
  return {
    name: max(float(jnp.abs(a - b).max()) for a, b in pairs(name))
    for name in old["params"]
  }


def test_references_are_two_rows_of_the_target_domain():
  made = batch(24, domains=4)  # the fourth is none that is learned
  made["padding"] = made["padding"].at[3:5].set(True)
  seen = set()
  for seed in range(8):
    drawn = game().draw(jax.random.key(seed), made)
    left_out = np.asarray(made["padding"]) | (np.asarray(made["domain"]) == 3)
    np.testing.assert_array_equal(drawn["padding"], left_out)
    pictures = np.asarray(drawn["image"])
    for row in range(24):
      which = []
      for reference in np.asarray(drawn["references"])[row]:
        (found,) = np.flatnonzero((pictures == reference).all((1, 2, 3)))
        assert not left_out[found]
        assert drawn["domain"][found] == drawn["target"][row]
        which.append(found)
      assert which[0] != which[1]
      seen.add(tuple(which))
  assert len(seen) > 60
  targets = np.concatenate(
    [game().draw(jax.random.key(s), made)["target"] for s in range(20)]
  )
  counts = np.bincount(targets, minlength=3)
  assert counts.min() > 480 / 3 * 0.7, counts


def test_a_domain_of_one_row_is_both_references_and_an_absent_one_none():
  made = batch(8, domains=2)
  made["domain"] = jnp.array([0, 1, 1, 1, 1, 1, 1, 1])
  drawn = game().draw(jax.random.key(0), made)
  assert set(np.unique(drawn["target"])) == {0, 1}
  rows = np.flatnonzero(drawn["target"] == 0)
  for reference in np.asarray(drawn["references"])[rows].reshape(-1, 32, 32, 3):
    np.testing.assert_array_equal(reference, drawn["image"][0])


def test_a_batch_of_no_usable_row_changes_nothing_but_by_decay(compiled):
  state, step = compiled
  made = batch(8)
  made["padding"] = jnp.ones(8, bool)
  new, metrics = step(state, NOTHING, made, jax.random.key(0))
  assert metrics["generator_latents/loss"] == 0
  assert max(furthest(state, new).values()) < 1e-4


def test_the_weight_of_diversity_falls_to_zero():
  made = game(weights=dict(reg=1.0, sty=1.0, ds=2.0, ds_steps=4, cyc=1.0))
  steps = jnp.array([0, 1, 2, 4, 9])
  np.testing.assert_allclose(made._ds(steps), [2, 1.5, 1, 0, 0])


def test_steps_are_counted_in_the_state(compiled):
  state, step = compiled
  for count in range(2):
    assert state["schedule_steps"] == count
    state, _ = step(state, NOTHING, batch(8), jax.random.key(count))


def linear(weights):
  """Networks of one number each, whose losses can be written down."""
  generate = lambda x, style, keep=None: (
    x * weights["g"] + style[:, :1, None, None]
  )
  return {
    "generator": generate,
    "mapping": lambda z, y: z * weights["f"] + y[:, None],
    "style": lambda x, y: x.mean((1, 2)) * weights["e"] + y[:, None],
    "discriminator": lambda x, y: (
      weights["d"] * jnp.square(x).sum((1, 2, 3)) + y
    )[:, None],
  }


def drawn_batch(rows=5, side=4):
  rng = np.random.default_rng(0)
  unit = lambda *shape: rng.random(shape).astype(np.float32)
  return {
    "image": unit(rows, side, side, 3),
    "references": unit(rows, 2, side, side, 3),
    "latents": unit(rows, 2, 3),
    "domain": rng.integers(0, 3, rows),
    "target": rng.integers(0, 3, rows),
    "padding": np.arange(rows) == 3,
    "ds": np.full(rows, 0.7, np.float32),
  }


WEIGHTS = dict(g=0.6, f=0.5, e=0.4, d=0.03)
LOSSES = dict(reg=0.9, sty=0.3, ds=5.0, ds_steps=4, cyc=1.7)


def float64(made, source, g=WEIGHTS["g"]):
  """Both losses of linear networks by NumPy, the mean of rows.

  The second fake is a constant: it is not drawn with `g`.
  """
  w = WEIGHTS
  x = 2 * made["image"].astype(np.float64) - 1
  y, t = made["domain"], made["target"]
  style = lambda x, y: x.mean((1, 2)) * w["e"] + y[:, None]
  realness = lambda x, y: w["d"] * (x**2).sum((1, 2, 3)) + y
  generate = lambda x, s, g: x * g + s[:, :1, None, None]
  if source == "latents":
    styles = [made["latents"][:, i] * w["f"] + t[:, None] for i in range(2)]
  else:
    references = 2 * made["references"].astype(np.float64) - 1
    styles = [style(references[:, i], t) for i in range(2)]
  fake, other = generate(x, styles[0], g), generate(x, styles[1], w["g"])
  minus_log = lambda logit: np.log1p(np.exp(-logit))
  slope = 2 * w["d"] * x
  judged = minus_log(realness(x, y)) + minus_log(-realness(fake, t))
  judged += 0.9 * 0.5 * (slope**2).sum((1, 2, 3))
  drawn = minus_log(realness(fake, t))
  drawn += 0.3 * np.abs(style(fake, t) - styles[0]).mean(1)
  drawn -= 0.7 * np.abs(fake - other).mean((1, 2, 3))
  cycle = np.abs(generate(fake, style(x, y), g) - x).mean((1, 2, 3))
  return [v[~made["padding"]].mean() for v in (judged, drawn + 1.7 * cycle)]


@pytest.mark.parametrize("source", ["latents", "references"])
def test_losses_are_those_of_the_paper(source):
  made, whole = drawn_batch(), game(weights=LOSSES)
  rows = jax.tree.map(jnp.asarray, made)
  losses = whole._judged(source), whole._drawn(source)
  for loss, expected in zip(losses, float64(made, source)):
    got, _ = loss(linear(WEIGHTS), rows, NOTHING, None)
    assert got.shape == made["padding"].shape
    examples = np.asarray(got, np.float64)[~made["padding"]]
    np.testing.assert_allclose(examples.mean(), expected, rtol=1e-5)


@pytest.mark.parametrize("source", ["latents", "references"])
def test_gradients_go_to_the_first_fake_alone(source):
  """The second is a constant, and a discriminator moves no generator."""
  made, whole = drawn_batch(), game(weights=LOSSES)
  rows = jax.tree.map(jnp.asarray, made)

  def slope(loss, name):
    def value(w):
      losses, _ = loss(linear(WEIGHTS | {name: w}), rows, NOTHING, None)
      return losses[~made["padding"]].mean()

    return float(jax.grad(value)(WEIGHTS[name]))

  nudged = [float64(made, source, WEIGHTS["g"] + by)[1] for by in (-1e-5, 1e-5)]
  expected = (nudged[1] - nudged[0]) / 2e-5
  assert slope(whole._drawn(source), "g") == pytest.approx(expected, rel=1e-3)
  assert slope(whole._judged(source), "g") == 0
  assert slope(whole._judged(source), "f") == 0
  assert slope(whole._judged(source), "d") != 0


def test_four_moves_a_step_of_which_the_last_is_of_the_generator(monkeypatch):
  made = {}

  def note(name, players, moves, *args, **kwargs):
    made.update(players=players, moves=moves)
    return original(name, players, moves, *args, **kwargs)

  original = game_lib.recipes.adversarial_phase
  monkeypatch.setattr(game_lib.recipes, "adversarial_phase", note)
  game().phase()
  assert [(n, m.updates) for n, m in made["moves"].items()] == [
    ("discriminator_latents", ("discriminator",)),
    ("discriminator_references", ("discriminator",)),
    ("generator_latents", ("generator", "mapping", "style")),
    ("generator_references", ("generator",)),
  ]


def test_all_networks_learn_and_the_mapping_slowly(compiled):
  state, step = compiled
  new, _ = step(state, NOTHING, batch(8), jax.random.key(1))
  change = furthest(state, new)
  assert all(value > 0 for value in change.values()), change
  assert change["mapping"] < 0.2 * change["style"], change


def test_a_release_depends_on_photograph_and_secret_alone():
  rows = batch(6)
  made = {}
  for secret in (1, 2):
    method = game(secret=secret).phase().method
    state = method.init(jax.random.key(0), rows, NOTHING)
    protect = jax.jit(method.outputs.image)
    made[secret] = np.asarray(protect(state, NOTHING, rows))
    turned = jax.tree.map(lambda x: x[::-1], rows)
    again = np.asarray(protect(state, NOTHING, turned))[::-1]
    np.testing.assert_allclose(made[secret], again, atol=1e-5)
    assert made[secret].min() >= 0 and made[secret].max() <= 1
  assert np.abs(made[1] - made[2]).max() > 1e-4


def test_a_track_of_a_video_has_one_style():
  rows = batch(6)
  made = game(secret=1)
  latents = lambda batch: np.asarray(made._latents(made._keys(batch)))
  alone = latents(rows)
  track = jnp.array([3, 3, 4, -1, 3, -1], jnp.int32)
  tracked = latents({**rows, "track": track})
  np.testing.assert_array_equal(tracked[[3, 5]], alone[[3, 5]])
  np.testing.assert_array_equal(tracked[[1, 4]], tracked[[0, 0]])
  assert (tracked[2] != tracked[0]).any() and (tracked[0] != alone[0]).any()


def test_styles_of_what_is_drawn_are_of_the_number_of_a_row():
  config = tiny.face_synthesis()
  method = face_synthesis.phases(config)[0].method
  batch = inference.as_float(jax.tree.map(jnp.asarray, tiny.faces(8)))
  state = method.init(jax.random.key(0), batch, NOTHING)
  drawn = jax.jit(method.outputs.drawn)
  same = {**batch, "image": batch["image"][jnp.zeros(8, int)]}
  shown = np.asarray(drawn(state, NOTHING, same))
  assert shown.shape == batch["image"].shape
  assert (np.abs(shown[1:] - shown[:1]).max((1, 2, 3)) > 1e-4).all()
  other = {**same, "index": jnp.array([5] * 8)}
  again = np.asarray(drawn(state, NOTHING, other))
  np.testing.assert_allclose(again, shown[[5] * 8], atol=1e-6)


def test_details_are_kept_about_points_that_are_known():
  whole = game("demo,high_pass")
  rows = batch(2)
  points = rows["landmarks"].at[0, :5].set(jnp.array([8.0, 20.0]))
  keep = np.asarray(whole._keep(dict(rows, landmarks=points)))
  assert keep.shape == (2, 32, 32, 1)
  assert keep[0, 20, 8] == 1 and keep[0, 8, 20] < 1e-3
  assert not keep[1].any()
  assert game()._keep(rows) is None


def data(domain="human,cat,dog"):
  source = ProceduralFaces(12, 2, 32, domain=domain)
  shares = dict(train=0.5, attack=0.25, test=0.25)
  return dataset.split_data(source, shares, 0)


def test_a_domain_of_few_photographs_is_told(caplog):
  config = tiny.face_synthesis()
  config.phases.stargan.batch_size = 6
  source = ProceduralFaces(420, 1, 32, domain="human,cat,dog")
  shares = dict(train=0.9, attack=0.05, test=0.05)
  many = dataset.split_data(source, shares, 0)
  with caplog.at_level("WARNING"):
    face_synthesis.check(config, many, lambda name: None)
    assert not caplog.records
    few = np.flatnonzero(source.points["domain"] == 1)[:-7]
    rows = np.setdiff1d(many.splits["train"], few)
    less = many._replace(splits={**many.splits, "train": rows})
    face_synthesis.check(config, less, lambda name: None)
  assert "photographs of cat will be learned by heart" in caplog.text


def test_a_domain_without_photographs_is_named():
  config = tiny.face_synthesis()
  config.phases.stargan.batch_size = 6
  load = lambda name: None
  face_synthesis.check(config, data(), load)
  message = r"names dog, and of 12 photographs .* \(\d+\), cat \(\d+\): give"
  with pytest.raises(DataError, match=message):
    face_synthesis.check(config, data("human,cat"), load)
  config.phases.stargan.batch_size = 4
  with pytest.raises(DataError, match="two of each of 3 domains; take 6"):
    face_synthesis.check(config, data(), load)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(domains=("human",)), "name two or more of human, cat, dog, wild"),
    (dict(domains=("human", "cow")), "name two or more"),
    (dict(domains=("cat", "cat")), "each once"),
    (dict(target="wild"), "'wild' is none of config.model.domains, human, cat"),
  ],
)
def test_domains_that_cannot_be_are_refused(changes, message):
  with pytest.raises(SettingError, match=message):
    face_synthesis.phases(tiny.face_synthesis(**changes))


def test_heads_follow_the_order_of_the_config():
  whole = game(domains=("dog", "human"), target="dog")
  assert whole.target == 0
  numbers = {name: int(n) for name, n in zip(DOMAINS, whole.heads)}
  assert numbers == {"human": 1, "cat": -1, "dog": 0, "wild": -1}


def test_releases_are_in_styles_of_references(tmp_path):
  """Styles are those of a folder, one for each photograph or track."""
  cats = ProceduralFaces(7, 1, tiny.SIDE, 3, domain="cat")
  for i in range(7):
    Image.fromarray(cats[i]["image"]).save(tmp_path / f"{i}.png")
  config = tiny.face_synthesis(
    "demo,references", folder=str(tmp_path), target="cat", most=7
  )
  first, last = face_synthesis.phases(config)
  made = batch(12)
  trained = first.method.init(jax.random.key(0), made, NOTHING)
  frozen = {"stargan": trained}
  state = last.method.init(jax.random.key(1), made, frozen)
  images = np.stack([cats[i]["image"] for i in range(7)]) / np.float32(255)
  networks = Game(config).networks
  apply = lambda name, *args: networks[name].apply(
    {"params": builders.variables(trained)["params"][name]}, *args
  )
  domain = jnp.full(7, 1)
  styles = apply("style", 2 * images - 1, domain)
  np.testing.assert_allclose(state["styles"], styles, atol=1e-5)
  shown = np.asarray(last.method.outputs.image(state, frozen, made))
  distances = []
  for style in styles:
    fake = apply("generator", 2 * made["image"] - 1, jnp.tile(style, (12, 1)))
    fake = np.clip((np.asarray(fake) + 1) / 2, 0, 1)
    distances.append(np.abs(fake - shown).max((1, 2, 3)))
  np.testing.assert_array_less(np.min(distances, 0), 1e-4)
  assert len(set(np.argmin(distances, 0))) > 2
  # One track has one style; numbers in the data decide of what is drawn.
  tracked = {**made, "track": jnp.zeros(12, jnp.int32)}
  tracked["image"] = jnp.tile(made["image"][:1], (12, 1, 1, 1))
  same = np.asarray(last.method.outputs.image(state, frozen, tracked))
  assert np.ptp(same, axis=0).max() < 1e-5
  tracked["index"] = jnp.arange(12)
  drawn = np.asarray(last.method.outputs.drawn(state, frozen, tracked))
  assert np.ptp(drawn, axis=0).max() > 1e-3


def test_references_need_a_folder(tmp_path):
  with pytest.raises(SettingError, match="name it in config.model.folder"):
    face_synthesis.phases(tiny.face_synthesis("demo,references"))
  config = tiny.face_synthesis("demo,references", folder="somewhere")
  config.phases.references.steps = 0
  with pytest.raises(DataError, match="whose references are taken over"):
    face_synthesis.check(config, None, lambda name: None)
  with pytest.raises(SettingError, match="config.model.most = 0"):
    face_synthesis.phases(
      tiny.face_synthesis("demo,references", folder="somewhere", most=0)
    )
  config = tiny.face_synthesis("demo,references", folder=str(tmp_path / "none"))
  first, last = face_synthesis.phases(config)
  trained = first.method.init(jax.random.key(0), batch(), NOTHING)
  with pytest.raises(DataError, match="config.model.folder = .*none"):
    last.method.init(jax.random.key(0), batch(), {"stargan": trained})
