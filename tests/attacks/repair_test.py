"""Repairs show hidden or scrambled pixels where photographs allow it."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxpriv.attacks import reidentification, repair
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import finding
from jaxpriv.metrics import image as image_metrics
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import Outputs, Phase, untrained
from tests import tiny

SIDE, SHOTS = 16, 4


def photographs(people, seed):
  """Each person is a mixture of six smooth patterns; shots differ a little."""
  y, x = np.meshgrid(*[np.linspace(0, np.pi, SIDE)] * 2, indexing="ij")
  waves = [np.cos(a * y) * np.cos(b * x) for a, b in np.ndindex(3, 2)]
  patterns = np.stack(waves)[..., None] * np.array([1.0, 0.7, 0.4])
  rng = np.random.default_rng(seed)
  mixed = rng.normal(size=(people, 1, 6))
  mixed = mixed + 0.1 * rng.normal(size=(people, SHOTS, 6))
  image = 128 + 25 * np.tensordot(mixed, patterns, 1)
  image = np.clip(image, 0, 255).reshape(-1, SIDE, SIDE, 3).astype(np.uint8)
  identity = np.repeat(np.arange(people), SHOTS).astype(np.int32)
  return InMemory({"image": image, "identity": identity})


def world(mesh, workdir, released):
  """A target whose release is `released(image)`: fields of records."""
  config = tiny.embedded_autoencoder()
  options = config.evaluation
  options.recogniser.update(depths=(1,), width=4, features=8)
  options.phases.repair.update(steps=4, batch_size=8, warmup_steps=0)
  known, test = photographs(40, 0), photographs(10, 1)
  people = People(config, workdir, mesh, known, test)
  embed = lambda shown: (
    shown.arrays["image"].reshape(len(shown), -1) - 128.0
  ).astype(np.float32)

  def make():
    phase = people.recogniser_phase("recogniser", options.phases.recogniser)
    batch = {"image": np.zeros((8, SIDE, SIDE, 3), np.float32)}
    state = phase.method.init(jax.random.key(0), batch, {})
    return Reader("public", embed), state

  people.once("recogniser", make)
  people.image = lambda target, shown: shown.replace(
    **released(shown.arrays["image"])
  )
  return Target("m", config, None, ("image",)), people


def masked(image):
  """The upper half alone, with a corner of its own for every other row."""
  keep = np.zeros(image.shape[:3], bool)
  keep[:, : SIDE // 2] = True
  keep[::2, :3, :3] = False
  return {"image": image * keep[..., None], "keep": keep}


def scrambled(image):
  places = np.random.default_rng(3).permutation(SIDE * SIDE * 3)
  flat = image.reshape(len(image), -1)
  return {"image": flat[:, places].reshape(image.shape)}


def values(rows, metric):
  return {row.by: row.value for row in rows if row.metric == metric}


def test_what_a_mask_hides_follows_from_what_it_leaves(mesh, tmp_path):
  target, people = world(mesh, tmp_path, masked)
  people.strips = []
  rows = list(repair.attack(target, people, rounds=0))
  by = "repair, conditional Gaussian"
  for metric in ("SSIM", "hidden SSIM", "PSNR", "hidden PSNR"):
    value = values(rows, metric)
    assert value[by] > value["mean image"] > value["noise"]
    assert set(value) == {by, "mean image", "grey", "noise"}
    (row,) = [r for r in rows if (r.by, r.metric) == (by, metric)]
    assert value[by] > row.floor >= value["mean image"]
    assert row.claim == "appearance"
    if "SSIM" in metric:
      assert row.wanted == finding.HIDDEN and row.ceiling.value == 1
      assert finding.judge(row).level == finding.BAD
    else:
      assert row.wanted == finding.TOLD
    assert not finding.problems(row)
  assert all(r.subject == "none" for r in rows if r.by == "mean image")
  identity = [r for r in rows if r.claim == "identity"]
  (told,) = [r for r in identity if r.metric == "verification accuracy"]
  assert told.by == by and told.wanted == finding.HIDDEN and told.floor == 0.5
  assert 0.8 < told.value <= told.ceiling.value
  assert finding.judge(told).level == finding.BAD and not finding.problems(told)
  ranks = [r for r in identity if r is not told]
  short = lambda row: row.by.removeprefix(f"{by}, ")
  assert {(short(row), row.where["gallery"]) for row in ranks} == {
    ("naive", "other photograph"), ("naive", "same photograph"),
    ("reverse", "other photograph"), ("reverse", "same photograph"),
    ("parrot", "other photograph"),
  }  # fmt: skip
  assert len(ranks) == 5 and {r.metric for r in ranks} == {"rank-1"}
  assert all(r.value > 0.8 for r in ranks)
  # Released pixels are put back.
  released = masked(people.test.arrays["image"])
  for strip in people.strips:
    assert strip["captions"] == [
      "original", "protected", "by conditional Gaussian"
    ]  # fmt: skip
    original, protected, repaired = strip["images"]
    (row,) = np.flatnonzero(
      (people.test.arrays["image"] == original).all((1, 2, 3))
    )
    np.testing.assert_array_equal(protected, released["image"][row])
    keep = released["keep"][row]
    np.testing.assert_array_equal(repaired[keep], original[keep])


def test_what_can_be_seen_is_in_the_floor(mesh, tmp_path):
  """Who fills in the mean image has found nothing, whatever windows overlap."""
  target, people = world(mesh, tmp_path, masked)
  original = people.test.arrays["image"]
  keep = masked(original)["keep"]
  mean = people.known.arrays["image"].mean(0).round()
  filled = np.where(keep[..., None], original, mean).astype(np.uint8)
  want = image_metrics.likeness(
    original, filled, people=people.test.identities, hidden=~keep
  )
  rows = list(repair.attack(target, people, rounds=0))
  floors = {
    row.metric: row.floor for row in rows if row.by.startswith("repair")
  }
  for metric in ("SSIM", "hidden SSIM", "hidden PSNR"):
    mean = values(rows, metric)["mean image"]
    assert floors[metric] == pytest.approx(
      max(want[metric].value, mean), rel=1e-5
    )
  assert floors["SSIM"] > values(rows, "SSIM")["mean image"] + 0.09


def test_what_has_no_mask_is_repaired_by_least_squares(mesh, tmp_path):
  """A control: no strips, and no rows of who knows nothing."""
  target, people = world(mesh, tmp_path, scrambled)
  rows = list(repair.attack(target._replace(control=True), people, rounds=0))
  assert set(values(rows, "SSIM")) == {"repair, least squares"}
  assert not people.strips and not values(rows, "hidden SSIM")
  (row,) = [r for r in rows if r.metric == "SSIM"]
  assert row.value > 0.9 > row.floor + 0.2


def test_nothing_comes_back_where_all_look_alike(mesh, tmp_path):
  alike = lambda image: {"image": 0 * image + 7}
  target, people = world(mesh, tmp_path, alike)
  rows = list(repair.attack(target, people, rounds=0))
  (row,) = [r for r in rows if r.metric == "SSIM" and r.subject == "m"]
  assert row.value == pytest.approx(row.floor, abs=0.02)
  assert row.low < row.floor < row.high
  (row,) = [r for r in rows if r.metric == "verification accuracy"]
  assert row.low <= row.floor and finding.judge(row).level != finding.BAD


def test_a_network_repairs_beside_it(mesh, tmp_path):
  target, people = world(mesh, tmp_path, masked)
  shown = people.image(target, people.test).arrays
  pictured = reidentification.pictured(people.test.identities)
  people.strips = [
    {"images": [people.test.arrays["image"][row]] * 3, "captions": list("abc")}
    for row in pictured
  ]
  rows = list(repair.attack(target, people, widths=(8,), rounds=2))
  unet = "repair, U-Net"
  assert unet in values(rows, "SSIM") and unet in values(rows, "hidden PSNR")
  identity = [r.by for r in rows if r.claim == "identity"]
  assert len([by for by in identity if by.startswith(f"{unet}, ")]) == 5
  assert identity.count(unet) == 1
  for strip, row in zip(people.strips, pictured, strict=True):
    assert strip["captions"] == [*"abc", "by conditional Gaussian", "by U-Net"]
    keep = shown["keep"][row]
    np.testing.assert_array_equal(
      strip["images"][-1][keep], shown["image"][row][keep]
    )


class Same(nn.Module):
  """Repairs nothing."""

  @nn.compact
  def __call__(self, images, keep=None, *, train):
    return images + self.param("nothing", nn.initializers.zeros, ())


@pytest.mark.parametrize("mask", [True, False])
def test_the_loss_is_that_of_hidden_pixels_structure_and_person(mask):
  """A recogniser that reads the mean colour."""
  photograph = photographs(2, 5).arrays["image"]
  released = masked(photograph)
  embed = lambda state, frozen, batch: batch["image"].mean((1, 2)) @ state
  recogniser = Phase("recogniser", (), untrained(Outputs(embed=embed)))
  options = tiny.embedded_autoencoder().evaluation.phases.repair
  method = repair.network("repair", Same(), options, recogniser).method
  state = {"params": {"nothing": np.zeros(())}, "batch_stats": {}}
  fields = {"keep": released["keep"]} if mask else {}
  batch = {
    "image": photograph.astype(np.float32) / 255,
    "padding": np.zeros(8, bool),
    **fields,
  }
  matrix = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
  losses = lambda shown: method.outputs.losses(
    state, {"recogniser": matrix}, {**batch, "released": shown}
  )
  np.testing.assert_allclose(losses(photograph)["loss"], 0, atol=1e-3)
  got = losses(released["image"])
  images = released["image"].astype(np.float32) / 255
  hidden = ~released["keep"] if mask else np.ones_like(released["keep"])
  apart = np.abs(images - batch["image"]).mean(3)
  pixels = [x[area].mean() for x, area in zip(apart, hidden, strict=True)]
  np.testing.assert_allclose(got["pixels"], pixels, rtol=1e-4)
  said, right = (x.mean((1, 2)) @ matrix for x in (images, batch["image"]))
  norm = lambda x: np.linalg.norm(x, axis=1)
  cosine = (said * right).sum(1) / norm(said) / norm(right)
  np.testing.assert_allclose(got["cosine"], cosine, rtol=1e-4)
  structure = 1 - image_metrics.ssim(batch["image"], images)
  np.testing.assert_allclose(
    got["loss"],
    repair.PIXELS * np.array(pixels)
    + repair.STRUCTURE * structure
    + repair.IDENTITY * (1 - cosine),
    rtol=1e-4,
  )
