"""What was hidden is given back as well as it can be, and measured apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxpriv.attacks import evaluation, repair
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.errors import SettingError
from jaxpriv.metrics import finding
from jaxpriv.models.repair import Repairer
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from tests import tiny

SIDE = 16


def photographs(count, seed):
  """Mirrored halves: whoever sees the left one can tell the right one."""
  rng = np.random.default_rng(seed)
  left = rng.integers(0, 256, (count // 2, 2, 1, 3)).repeat(2, 0)
  left = np.kron(left, np.ones((1, SIDE // 2, SIDE // 2, 1)))
  left = left + rng.integers(-5, 5, left.shape)
  image = np.concatenate([left, left[:, :, ::-1]], 2).clip(0, 255)
  return InMemory(
    {
      "image": image.astype(np.uint8),
      "identity": np.arange(count, dtype=np.int32) // 2,
    },
    (),
  )


def people(mask=None, blind=False):
  made = People(
    tiny.embedded_autoencoder(), "", mesh_lib.make_mesh(1),
    photographs(120, 0), photographs(24, 1),
  )  # fmt: skip
  flat = lambda shown: shown.arrays["image"].reshape(len(shown), -1) / 255 - 0.5
  made.once("recogniser", lambda: (Reader("eyes", flat), None))

  def image(target, shown):
    pixels = shown.arrays["image"]
    if mask is None:
      fewer = pixels.reshape(-1, 8, 2, 8, 2, 3).mean((2, 4), keepdims=True)
      mosaic = np.broadcast_to(fewer, (len(pixels), 8, 2, 8, 2, 3))
      return shown.replace(image=mosaic.reshape(pixels.shape).astype(np.uint8))
    keep = np.broadcast_to(mask, pixels.shape[:3])
    return shown.replace(image=pixels * keep[..., None], keep=keep)

  made.image = image
  return made


def attacked(made, **options):
  target = Target("m", made.config, Trained((), {}), ("image",))
  options = {"components": 20, "widths": (), **options}
  return list(repair.attack(target, made, **options))


LEFT = np.broadcast_to(np.arange(SIDE) < SIDE // 2, (SIDE, SIDE))


def one(findings, by, metric):
  (found,) = [f for f in findings if (f.by, f.metric) == (by, metric)]
  return found


def test_what_follows_from_what_is_visible_is_found():
  made = people(LEFT)
  findings = attacked(made)
  assert not any(map(finding.problems, findings))
  by = "repair, conditional Gaussian"
  hidden = one(findings, by, "SSIM hidden")
  assert hidden.value > 0.75 and hidden.floor < 0.4
  assert finding.judge(hidden).level == finding.BAD
  assert one(findings, by, "PSNR hidden").value > 25
  # The visible half makes whole images more alike than their hidden halves.
  for name in ("grey", "noise", by):
    whole, part = (one(findings, name, m) for m in ("SSIM", "SSIM hidden"))
    assert whole.value > part.value
    assert (whole.wanted == finding.HIDDEN) == (name == by)
  ranks = [f for f in findings if f.claim == "identity"]
  assert {f.by for f in ranks} == {
    f"{by}, {a}" for a in ("naive", "reverse", "parrot")
  }
  assert all(
    f.value == 1 for f in ranks if f.where["gallery"].startswith("same")
  )
  assert [s["captions"] for s in made.strips] == [
    ["original", "released", "conditional Gaussian"]
  ] * repair.SHOWN
  np.testing.assert_array_equal(
    made.strips[0]["images"][0], made.test.arrays["image"][0]
  )


def test_what_follows_from_nothing_is_the_mean():
  made = people(np.zeros((SIDE, SIDE), bool))
  findings = attacked(made)
  hidden = one(findings, "repair, conditional Gaussian", "SSIM hidden")
  assert hidden.value == pytest.approx(hidden.floor, abs=0.02)
  assert finding.judge(hidden).level != finding.BAD


def test_without_a_mask_least_squares_learn():
  findings = attacked(people())
  whole = one(findings, "repair, least squares", "SSIM")
  assert whole.value > whole.floor + 0.2
  assert not [f for f in findings if f.metric.endswith("hidden")]


def options(**changes):
  return common.phase(60, 8, **{"augment": False, **changes})


def batch(seed=0):
  known = photographs(8, seed)
  keep = np.broadcast_to(LEFT, (8, SIDE, SIDE))
  return {
    "image": jnp.asarray(known.arrays["image"] / np.float32(255)),
    "released": jnp.asarray(known.arrays["image"] * keep[..., None]),
    "keep": jnp.asarray(keep),
    "identity": jnp.asarray(known.identities),
    "padding": jnp.zeros(8, bool),
  }


def test_the_network_learns_and_leaves_what_is_visible():
  made = repair.phase("repair", options(learning_rate=3e-3), (8, 8), 2)
  state = jax.jit(made.method.init)(jax.random.key(0), batch(), {})
  step = jax.jit(made.method.step)
  losses = []
  for _ in range(30):
    state, metrics = step(state, {}, batch(), jax.random.key(0))
    losses.append(float(metrics["loss"]))
  assert losses[-1] < 0.7 * losses[0]
  result = made.method.outputs.reconstruct(state, {}, batch())
  shown = np.asarray(batch()["image"])
  np.testing.assert_allclose(result[:, LEFT], shown[:, LEFT], atol=1e-6)
  blurred = {k: v for k, v in batch().items() if k != "keep"}
  assert (
    made.method.outputs.reconstruct(state, {}, blurred).shape == shown.shape
  )


def test_hidden_pixels_are_not_seen_by_the_network():
  model = Repairer((4, 8), rounds=2)
  images, keep = batch()["image"], batch()["keep"]
  variables = model.init(jax.random.key(0), images, keep)
  other = jnp.where(keep[..., None], images, 1 - images)
  np.testing.assert_array_equal(
    model.apply(variables, images, keep), model.apply(variables, other, keep)
  )


def test_a_second_round_sees_the_first_result():
  images, keep = batch()["image"], batch()["keep"]
  one_round, two = Repairer((4, 8)), Repairer((4, 8), rounds=2)
  variables = one_round.init(jax.random.key(0), images, keep)
  first = one_round.apply(variables, images, keep)
  filled = jnp.where(keep[..., None], images, first)
  expected = one_round.apply(
    variables, filled, keep[..., None].astype(jnp.float32), method="_once"
  )
  np.testing.assert_allclose(
    two.apply(variables, images, keep), expected, atol=1e-6
  )


def test_photographs_and_their_releases_do_not_vary_apart():
  with pytest.raises(SettingError, match="repair.augment would vary"):
    repair.phase("repair", options(augment=True), (8,), 1)


def test_strips_of_any_length_are_kept(tmp_path):
  rng = np.random.default_rng(0)
  strips = [
    {
      "images": list(rng.integers(0, 256, (n, 4, 4, 3), np.uint8)),
      "captions": [f"{n} {i}" for i in range(n)],
    }
    for n in (3, 5, 3)
  ]
  for kept in (strips, []):
    evaluation._write_strips(tmp_path / "strips.npz", kept)
    read = evaluation._read_strips(tmp_path / "strips.npz")
    assert [s["captions"] for s in read] == [s["captions"] for s in kept]
    for a, b in zip(read, kept, strict=True):
      np.testing.assert_array_equal(a["images"], b["images"])
