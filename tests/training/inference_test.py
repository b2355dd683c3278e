"""Predict functions over data sets."""

import numpy as np

from jaxpriv.training import inference
from tests.training import toys


def negative(state, frozen, batch):
  return {"image": 1 - batch["image"], "mean": batch["image"].mean((1, 2, 3))}


def test_batches_are_finished_one_by_one_and_stay_in_order(mesh):
  batches = [toys.batch(rows, seed=rows) for rows in (16, 8, 5)]
  batches[1]["padding"][6:] = True
  seen = []

  def finish(output):
    seen.append(len(output["mean"]))
    return np.round(output["image"] * 255).astype(np.uint8)

  images = inference.predict(negative, {}, {}, batches, mesh, finish=finish)
  assert seen == [16, 6, 5]
  assert images.dtype == np.uint8
  shown = np.concatenate([b["image"][~b["padding"]] for b in batches])
  np.testing.assert_array_equal(images, 255 - shown)


def test_outputs_are_kept_as_they_are_by_default(mesh):
  batches = [toys.batch(5, seed=0), toys.batch(3, seed=1)]
  output = inference.predict(negative, {}, {}, batches, mesh)
  shown = np.concatenate([b["image"] for b in batches]).astype(np.float32) / 255
  np.testing.assert_allclose(output["mean"], shown.mean((1, 2, 3)), rtol=1e-5)
  np.testing.assert_allclose(output["image"], 1 - shown, atol=1e-6)
