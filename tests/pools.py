"""Small pools of features for tests."""

import numpy as np

from jaxpriv.data import pool as pool_lib

SHAPE = (4, 3, 5)
NAMES = ("Smiling", "Male")
SHA = "0123456789abcdef" * 4


def rows(count=7, seed=0):
  rng = np.random.default_rng(seed)
  for i in range(count):
    features = rng.normal(size=SHAPE).astype(np.float16)
    features.flat[:3] = (65504, -0.0, 6e-8)  # largest, signed, subnormal
    yield dict(features=features, attributes=np.array([i % 2, -1], np.int8))


def write(path, records=None, **options):
  options = (
    dict(
      featurizer=SHA, layer="conv2", align="landmarks", attribute_names=NAMES
    )
    | options
  )
  records = rows() if records is None else records
  return pool_lib.write(path, records, **options)
