"""A few faces are drawn, and stand for all that a source has."""

import numpy as np

from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.repeated import Repeated


def test_a_few_faces_are_drawn_and_repeated():
  source = ProceduralFaces(50, 4, image_size=32)
  few = Repeated(source, seconds=0.0)
  assert len(few) == 200 and few.drawn == 8
  np.testing.assert_array_equal(few.identities, source.identities)
  for index in (3, 11, 195):
    own = source[index % 8]
    for name, value in few[index].items():
      np.testing.assert_array_equal(value, own[name])
  batch = few.batch(np.array([195, 3]))
  np.testing.assert_array_equal(batch["image"][0], batch["image"][1])
  assert Repeated(source).drawn == 200, "there are no more"
