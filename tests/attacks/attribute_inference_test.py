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
