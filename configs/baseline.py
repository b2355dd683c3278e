"""Baselines without training, attacked and released by the same programs.

  --config=configs/baseline.py:demo,gaussian_blur

The others are black_box, pixelation, k_same, k_same_eigen and k_same_select.
k-Same protects a closed set: evaluation and release pass it all images at once.
"""

from ml_collections import ConfigDict

from configs import common

STRENGTHS = dict(black_box=0.25, gaussian_blur=0.08, pixelation=0.125)
K_SAME = dict(k_same="pixel", k_same_eigen="eigen", k_same_select="select")
OPTIONS = (*STRENGTHS, *K_SAME)


def get_config(argument: str = "demo,gaussian_blur") -> ConfigDict:
  scale, options = common.parse(argument, OPTIONS)
  if len(options) != 1:
    raise ValueError(
      f"name one baseline behind the scale, as in {scale},{OPTIONS[0]}; there"
      f" are {', '.join(OPTIONS)}"
    )
  (kind,) = options
  config = common.base("k_same" if kind in K_SAME else "baselines", kind)
  config.data.image_size = dict(demo=64, gpu=112, paper=224)[scale]
  if scale == "paper":
    config.data.update(source="tfds", name="celeb_a", align="box", cache=False)
  if kind in K_SAME:
    config.model = dict(kind=K_SAME[kind], k=5, components=64)
    config.phases.k_same = common.phase(0, 64)
    config.release.batch_size = 0  # everybody in one batch
  else:
    config.model = dict(kind=kind, strength=STRENGTHS[kind])
    config.phases.baseline = common.phase(0, 64)
  return config
