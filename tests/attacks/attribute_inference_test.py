import numpy as np

from jaxpriv.attacks import attribute_inference


def test_scores_count_known_labels_and_leave_unknown_attributes_out():
  labels = np.array([[1, -1, -1], [0, 1, -1], [1, 1, -1], [1, 0, -1]])
  predicted = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
  scores = attribute_inference.score(
    predicted, labels, ("Male", "Smiling", "Young")
  )
  assert list(scores) == ["Male", "Smiling"]
  male, smiling = scores.values()
  assert (male.hits, male.total, male.majority) == (2, 4, 0.75)
  assert (smiling.hits, smiling.total) == (2, 3)
  rows = attribute_inference.rows("fresh FSN", scores, scores)
  assert [row["attribute"] for row in rows] == ["Male", "Smiling"]
  assert rows[0]["original"] == rows[0]["rate"] == 0.5
  assert rows[0]["predictor"] == "fresh FSN"


def test_attributes_taken_together_are_counted_and_drawn_by_person():
  labels = np.array([[1, -1, 0], [1, 1, -1], [0, 1, -1], [1, 0, -1]])
  read = np.array([[1, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 0]])
  people = np.array([3, 3, 5, 9])
  found = attribute_inference.overall(read, labels, labels, people)
  assert (found["hits"], found["total"]) == (4, 8)
  assert found["rate"] == 0.5 and found["undisguised"] == 1
  assert found["majority"] == (3 + 2 + 1) / 8
  # By person: 2 of 4, 1 of 2, 1 of 2; with these there is no doubt of a half.
  assert found["low"] == found["high"] == 0.5
  people = np.array([3, 3, 3, 9])
  read = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]])
  found = attribute_inference.overall(read, read, labels, people)
  # 6 of 6 and 0 of 2: sums of what is left of the mean are 1.5 and -1.5.
  half = 1.959964 * np.sqrt(2 * (1.5**2 + 1.5**2)) / 8
  np.testing.assert_allclose(found["low"], 0.75 - half, atol=1e-6)
  assert found["rate"] == found["undisguised"] == 0.75 and found["high"] == 1
  nothing = np.full((2, 2), -1)
  args = (np.zeros((2, 2), int), nothing, nothing, np.arange(2))
  assert attribute_inference.overall(*args) is None


def test_mean_average_precision_is_over_attributes_that_vary():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, (60, 3))
  labels[:, 2] = 1
  people = np.repeat(np.arange(20), 3)
  sure = np.stack([1 - labels, labels], axis=-1).astype(np.float32)
  unsure = sure.copy()
  unsure[:, 0] = 0
  got = attribute_inference.precision(unsure, sure, labels, people)
  share = labels[:, :2].mean(0)
  assert got["count"] == 2 and got["original"] == 1
  np.testing.assert_allclose(got["value"], (share[0] + 1) / 2)
  np.testing.assert_allclose(got["constant"], share.mean())
  assert got["low"] < got["value"] < got["high"] < 1


def test_attributes_that_do_not_vary_have_no_precision():
  labels = np.array([[1, 0], [1, -1]])
  logits = np.zeros((2, 2, 2))
  people = np.arange(2)
  assert attribute_inference.precision(logits, logits, labels, people) is None


def test_the_interval_is_over_people():
  """Copies of a photograph say nothing new of whoever is on it."""
  rng = np.random.default_rng(1)
  labels = rng.integers(0, 2, (40, 2))
  logits = rng.normal(size=(40, 2, 2)).astype(np.float32)
  people = np.arange(40)
  one = attribute_inference.precision(logits, logits, labels, people)
  rows = np.repeat(np.arange(40), 5)
  five = attribute_inference.precision(
    logits[rows], logits[rows], labels[rows], people[rows]
  )
  assert abs(five["value"] - one["value"]) < 0.03
  width = lambda row: row["high"] - row["low"]
  assert width(five) > 0.8 * width(one)
