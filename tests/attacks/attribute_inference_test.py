import numpy as np

from jaxpriv.attacks import attribute_inference
from jaxpriv.attacks.threat import Reader
from jaxpriv.training import mechanism


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
  target = mechanism.Target("m", None, None, ("image",), kept=("Male",))
  reader = Reader("fresh FSN", None)
  male, smiling = attribute_inference.findings(target, reader, scores, scores)
  assert (male.claim, male.wanted) == ("attribute Male", "kept")
  assert (smiling.claim, smiling.wanted) == ("attribute Smiling", "hidden")
  assert male.ceiling.value == male.value == 0.5 and male.floor == 0.75
  assert male.by == "fresh FSN"
