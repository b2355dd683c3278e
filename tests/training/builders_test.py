import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriv.data.records import DataError
from jaxpriv.training import builders, combinators
from jaxpriv.training.method import Outputs
from tests.training import star, toys


def test_supervised_step_equals_a_step_by_hand():
  # Arrange: no norm statistics, plain SGD.
  model = toys.Net(norm="group")
  method = builders.supervised(model, toys.regression_loss, optax.sgd(0.1))
  batch = toys.float_batch()
  key = jax.random.key(0)
  state = jax.jit(method.init)(key, batch, {})

  new, metrics = jax.jit(method.step)(state, {}, batch, key)

  def objective(params):
    output = model.apply({"params": params}, batch["image"], train=True)
    target = batch["image"].mean((1, 2, 3))
    return jnp.mean((output - target) ** 2)

  value, grads = jax.value_and_grad(objective)(state["params"])
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, state["params"], grads)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    new["params"],
    expected,
  )
  np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
  norm = np.sqrt(sum((g**2).sum() for g in toys.leaves(grads)))
  np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)


def test_padding_rows_change_nothing():
  method = toys.regression(norm="group")
  batch = toys.float_batch(rows=8)
  key = jax.random.key(0)
  state = jax.jit(method.init)(key, batch, {})
  # Bright rows: black ones cost nothing even where nobody masks them.
  garbage = np.full((4, *batch["image"].shape[1:]), 0.9, np.float32)
  padded = {
    "image": np.concatenate([batch["image"], garbage]),
    "padding": np.arange(12) >= 8,
  }
  alone, metrics = jax.jit(method.step)(state, {}, batch, key)
  with_padding, padded_metrics = jax.jit(method.step)(state, {}, padded, key)
  for a, b in zip(toys.leaves(alone), toys.leaves(with_padding), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
  np.testing.assert_allclose(metrics["loss"], padded_metrics["loss"], rtol=1e-6)
  assert (
    builders.masked_mean(
      jnp.array([1.0, 5.0]), {"padding": jnp.array([False, True])}
    )
    == 1.0
  )


def test_a_batch_of_no_examples_has_no_gradient():
  method = toys.regression(norm="group")
  batch = toys.float_batch()
  batch["padding"] = np.ones(len(batch["padding"]), bool)
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  new, metrics = jax.jit(method.step)(state, {}, batch, jax.random.key(0))
  assert metrics["loss"] == metrics["absolute"] == 0
  for a, b in zip(
    toys.leaves(state["params"]), toys.leaves(new["params"]), strict=True
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_of_their_types_and_within_them(dtype):
  """Sums over rows are larger than what float16 holds; means are not."""

  class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      return nn.Dense(2, use_bias=False, dtype=dtype, param_dtype=dtype)(x)

  def loss(apply, batch, frozen):
    return apply(batch["image"].mean((1, 2)).astype(dtype)).sum(-1), {}

  method = builders.supervised(
    Layer(),
    loss,
    optax.sgd(2.0**-6, momentum=0.0),
    inputs=lambda batch, frozen: batch["image"].mean((1, 2)).astype(dtype),
  )
  rows, brightness = 4096, 40.0
  batch = {
    "image": np.full((rows, 1, 1, 3), brightness, np.float32),
    "padding": np.arange(rows) >= rows // 4,
  }
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  new, _ = jax.jit(method.step)(state, {}, batch, jax.random.key(0))
  types = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
  assert types(new) == types(state)
  moved = jax.tree.map(
    lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64),
    state["params"], new["params"],
  )  # fmt: skip
  for x in toys.leaves(moved):
    np.testing.assert_allclose(x, brightness / 64, rtol=0.02)


def test_batch_statistics_are_updated_and_used():
  method = toys.regression(norm="batch")
  batch = toys.float_batch()
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  new, _ = jax.jit(method.step)(state, {}, batch, jax.random.key(0))
  old_stats, new_stats = map(
    lambda s: toys.leaves(s["batch_stats"]), (state, new)
  )
  assert any(
    not np.allclose(a, b) for a, b in zip(old_stats, new_stats, strict=True)
  )
  evaluated = method.outputs.losses
  changed = {**new, "batch_stats": state["batch_stats"]}
  assert not np.allclose(
    evaluated(new, {}, batch)["loss"], evaluated(changed, {}, batch)["loss"]
  )


def test_dropout_follows_the_key():
  method = toys.regression(norm="group", dropout=0.5)
  batch = toys.float_batch()
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  step = jax.jit(method.step)
  loss = lambda key: step(state, {}, batch, key)[1]["loss"]
  assert loss(jax.random.key(1)) == loss(jax.random.key(1))
  assert loss(jax.random.key(1)) != loss(jax.random.key(2))


@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_gradient_equals_the_whole(count):
  whole = toys.regression(norm="group")
  parts = toys.regression(norm="group", grad=builders.accumulated_grad(count))
  batch = toys.float_batch()
  # Rows that are no examples, more in some microbatches than in others.
  batch["padding"] = np.isin(np.arange(len(batch["padding"])), (1, 5, 9, 13, 2))
  key = jax.random.key(0)
  state = jax.jit(whole.init)(key, batch, {})
  a, metrics_a = jax.jit(whole.step)(state, {}, batch, key)
  b, metrics_b = jax.jit(parts.step)(state, {}, batch, key)
  for x, y in zip(toys.leaves(a), toys.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, atol=2e-6)
  np.testing.assert_allclose(metrics_a["loss"], metrics_b["loss"], rtol=1e-5)


def test_ema_follows_its_formula_and_is_what_predicts():
  method = combinators.with_ema(toys.regression(norm="group"), decay=0.5)
  batch = toys.float_batch()
  key = jax.random.key(0)
  state = jax.jit(method.init)(key, batch, {})
  expected = toys.leaves(state["params"])
  step_fn = jax.jit(method.step)
  for step in range(4):
    state, _ = step_fn(state, {}, batch, key)
    decay = min(0.5, (1 + step) / (10 + step))
    now = toys.leaves(state["params"])
    expected = [
      decay * e + (1 - decay) * n for e, n in zip(expected, now, strict=True)
    ]
  for a, b in zip(toys.leaves(state["ema"]), expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
  plain = {k: v for k, v in state.items() if k != "ema"}
  predict = method.outputs.losses
  assert not np.allclose(
    predict(state, {}, batch)["loss"], predict(plain, {}, batch)["loss"]
  )


def test_ema_refuses_a_decay_of_one():
  with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
    combinators.with_ema(toys.regression(), decay=1)


def test_transform_sees_training_batches_only():
  def black(key, batch):
    return {**batch, "image": jnp.zeros_like(batch["image"])}

  plain = toys.regression(norm="group")
  method = combinators.with_transform(plain, black)
  batch = toys.float_batch()
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  _, metrics = jax.jit(method.step)(state, {}, batch, jax.random.key(0))
  _, expected = jax.jit(plain.step)(
    state, {}, black(None, batch), jax.random.key(0)
  )
  np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
  np.testing.assert_allclose(
    method.outputs.losses(state, {}, batch)["loss"],
    plain.outputs.losses(state, {}, batch)["loss"],
  )


def game():
  """A small GAN: d tells images from what g makes."""

  def discriminate(applies, batch, frozen, key):
    noise = jax.random.normal(key, (batch["image"].shape[0], 4))
    fake = jax.lax.stop_gradient(applies["g"](noise))
    real_logits, fake_logits = applies["d"](batch["image"]), applies["d"](fake)
    loss = jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)
    return loss, {"margin": real_logits - fake_logits}

  def generate(applies, batch, frozen, key):
    noise = jax.random.normal(key, (batch["image"].shape[0], 4))
    return jax.nn.softplus(-applies["d"](applies["g"](noise))), {}

  return builders.adversarial(
    {
      "d": builders.Player(toys.Net("group"), optax.adam(1e-2)),
      "g": builders.Player(
        toys.Generator(),
        optax.adam(1e-2),
        inputs=lambda batch, frozen, key: jnp.zeros(
          (batch["image"].shape[0], 4)
        ),
      ),
    },
    {
      "d": builders.Move(("d",), discriminate),
      "g": builders.Move(("g",), generate),
    },
    outputs=Outputs(
      sample=lambda applies, batch, frozen: {
        "made": applies["g"](jnp.ones((batch["image"].shape[0], 4)))
      }
    ),
  )


def test_players_take_turns_each_against_the_others_as_they_stand():
  method = game()
  batch = toys.float_batch()
  state = jax.jit(method.init)(jax.random.key(0), batch, {})
  step = jax.jit(method.step)
  key = jax.random.key(1)
  new, metrics = step(state, {}, batch, key)
  assert set(metrics) == {
      "d/loss", "d/gradient_norm", "d/margin", "g/loss", "g/gradient_norm"
  }  # fmt: skip
  # g's loss is taken after d has moved.
  noise = jax.random.normal(jax.random.fold_in(key, 1), (16, 4))
  fake = toys.Generator().apply(
    {"params": state["params"]["g"]}, noise, train=True
  )
  logits = toys.Net("group").apply(
    {"params": new["params"]["d"]}, fake, train=True
  )
  expected = jax.nn.softplus(-logits).mean()
  np.testing.assert_allclose(metrics["g/loss"], expected, rtol=1e-4)
  losses = []
  for i in range(60):
    state, metrics = step(state, {}, batch, jax.random.key(i))
    losses.append(float(metrics["d/margin"]))
  assert np.mean(losses[-5:]) > np.mean(losses[:5])
  assert method.outputs.sample(state, {}, batch)["made"].shape == (
    16,
    8,
    8,
    3,
  )


@pytest.mark.parametrize("clip_norm", [0.0, 0.2])
def test_moves_of_several_players_equal_a_loop_by_hand(clip_norm):
  """StarGAN v2 as a toy: three networks under one loss, four moves, R1."""
  method = star.method(clip_norm=clip_norm)
  state = jax.jit(method.init)(jax.random.key(0), star.float_batch(), {})
  assert set(state["params"]) == set(state["opt"]) == set(star.NETWORKS)
  params, opt = state["params"], state["opt"]
  step = jax.jit(method.step)
  by_hand = jax.jit(functools.partial(star.step_by_hand, clip_norm=clip_norm))
  norms = []
  for seed in range(3):
    batch = star.float_batch(seed=seed)
    state, metrics = step(state, {}, batch, jax.random.key(seed))
    params, opt, losses = by_hand(params, opt, batch)
    for name, loss in losses.items():
      np.testing.assert_allclose(metrics[f"{name}/loss"], loss, rtol=1e-4)
      norms.append(float(metrics[f"{name}/gradient_norm"]))
  chex.assert_trees_all_close(state["params"], params, atol=1e-5)
  chex.assert_trees_all_close(state["opt"], opt, atol=1e-4)
  # The norm that is told is the one before the clip, which was needed.
  assert min(norms) > 0.2
  # Two moves a step update the generator, one the mapping network.
  counts = {name: int(state["opt"][name][1].count) for name in star.NETWORKS}
  assert counts == {
    "discriminator": 6, "generator": 6, "mapping": 3, "style": 3
  }  # fmt: skip


def test_a_game_is_averaged_and_accumulated_as_anything_else():
  whole = combinators.with_ema(star.method(clip_norm=0.2), decay=0.5)
  parts = combinators.with_ema(
    star.method(clip_norm=0.2, grad=builders.accumulated_grad(2)), decay=0.5
  )
  batch = star.float_batch()
  key = jax.random.key(0)
  state = jax.jit(whole.init)(key, batch, {})
  a, metrics_a = jax.jit(whole.step)(state, {}, batch, key)
  b, metrics_b = jax.jit(parts.step)(state, {}, batch, key)
  chex.assert_trees_all_close(a, b, atol=1e-5)
  chex.assert_trees_all_close(metrics_a, metrics_b, rtol=1e-4)
  # After the first step, of decay 0.1; it is of all players, and predicts.
  expected = jax.tree.map(
    lambda old, new: 0.1 * old + 0.9 * new, state["params"], a["params"]
  )
  chex.assert_trees_all_close(a["ema"], expected, atol=1e-6)
  averaged = {k: v for k, v in a.items() if k != "ema"} | {"params": a["ema"]}
  np.testing.assert_allclose(
    whole.outputs.image(a, {}, batch),
    whole.outputs.image(averaged, {}, batch),
    rtol=1e-6,
  )


def test_clipping_is_of_the_whole_gradient_and_told_before_it():
  plain, key = toys.regression(norm="group"), jax.random.key(0)
  batch = toys.float_batch()
  state = jax.jit(plain.init)(key, batch, {})
  loose, tight = (
    builders.supervised(
      toys.Net("group"), toys.regression_loss, optax.sgd(1.0), clip_norm=norm
    )
    for norm in (0.0, 0.01)
  )
  state["opt"] = optax.sgd(1.0).init(state["params"])
  free, metrics = jax.jit(loose.step)(state, {}, batch, key)
  held, same = jax.jit(tight.step)(state, {}, batch, key)
  assert metrics["gradient_norm"] == same["gradient_norm"] > 0.01
  change = lambda new: jax.tree.map(
    jnp.subtract, new["params"], state["params"]
  )
  np.testing.assert_allclose(optax.tree.norm(change(held)), 0.01, rtol=1e-5)
  scale = 0.01 / metrics["gradient_norm"]
  chex.assert_trees_all_close(
    change(held), jax.tree.map(lambda x: x * scale, change(free)), atol=1e-7
  )


def test_moves_and_players_must_fit():
  player = builders.Player(toys.Net("group"), optax.sgd(1e-2))
  move = builders.Move(("d", "f"), lambda *args: None)
  with pytest.raises(ValueError, match=r"\['d', 'f'\].*\['d', 'e'\]"):
    builders.adversarial({"d": player, "e": player}, {"d": move})


def test_a_player_with_statistics_is_refused():
  player = builders.Player(toys.Net("batch"), optax.sgd(1e-2))
  move = builders.Move(("d",), lambda *args: None)
  method = builders.adversarial({"d": player}, {"d": move})
  with pytest.raises(ValueError, match="'d' keeps .*batch_stats"):
    method.init(jax.random.key(0), toys.float_batch(), {})


@pytest.mark.parametrize("optimizer", [optax.adamw(1e-2, weight_decay=0.1)])
def test_only_chosen_parameters_are_trained(optimizer):
  """Bit by bit; and they move as they would if all were trained."""
  batch = {k: jnp.asarray(v) for k, v in toys.float_batch().items()}
  key = jax.random.key(0)
  moved = {}
  for trainable in ((), ("Dense_1", "Dense_0/bias")):
    method = builders.supervised(
      toys.Net("group"), toys.regression_loss, optimizer, trainable=trainable
    )
    state = method.init(key, batch, {})
    new, _ = jax.jit(method.step)(state, {}, batch, key)
    for path, leaf in jax.tree_util.tree_leaves_with_path(new["params"]):
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      before = state["params"]
      for part in name.split("/"):
        before = before[part]
      moved[name, bool(trainable)] = np.asarray(leaf - before)
  for (name, chosen), value in moved.items():
    if chosen and name.startswith(("Dense_1", "Dense_0/bias")):
      np.testing.assert_allclose(value, moved[name, False], atol=1e-7)
      assert value.any()
    elif chosen:
      assert not value.any(), name


def test_parameters_that_there_are_not_cannot_be_trained():
  method = builders.supervised(
    toys.Net("group"),
    toys.regression_loss,
    optax.sgd(1.0),
    trainable=("Dense_2",),
  )
  with pytest.raises(DataError, match="'Dense_2', .*ConvBlock_0, Dense_0"):
    method.init(jax.random.key(0), toys.float_batch(), {})
