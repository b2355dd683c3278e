"""Baselines, attacked and released by the same programs as mechanisms.

  --config=configs/baseline.py:demo,gaussian_blur

| option | what | training |
|---|---|---|
| black_box, gaussian_blur, pixelation | hide parts or detail | none |
| k_same, k_same_eigen, k_same_select | averages of pixels | none |
| k_same_m | an average in a model of faces; needs landmarks | none |
| k_same_net | a generated mixture of training people | a generator |
| lowkey | the photograph with a bounded perturbation | two recognisers |

All of k-Same protects a closed set: evaluation and release pass it all images
at once. k_same_net and lowkey were trained at the demo scale only.
"""

from ml_collections import ConfigDict

from configs import common

STRENGTHS = dict(black_box=0.25, gaussian_blur=0.08, pixelation=0.125)
K_SAME = dict(k_same="pixel", k_same_eigen="eigen", k_same_select="select")
OPTIONS = (*STRENGTHS, *K_SAME, "k_same_m", "k_same_net", "lowkey")


def get_config(argument: str = "demo,gaussian_blur") -> ConfigDict:
  scale, options = common.parse(argument, OPTIONS)
  if len(options) != 1:
    raise ValueError(
      f"name one baseline behind the scale, as in {scale},{OPTIONS[0]}; there"
      f" are {', '.join(OPTIONS)}"
    )
  (kind,) = options
  method = "k_same" if kind in K_SAME else kind
  if kind in STRENGTHS:
    method = "baselines"
  config = common.base(method, kind)
  config.data.image_size = dict(demo=64, gpu=112, paper=224)[scale]
  if scale == "paper":
    config.data.update(source="tfds", name="celeb_a", align="box", cache=False)
  if "k_same" in kind:
    config.release.batch_size = 0  # everybody in one batch
  if kind in K_SAME:
    config.model = dict(kind=K_SAME[kind], k=5, components=64)
    config.phases.k_same = common.phase(0, 64)
  elif kind == "k_same_m":
    config.model = dict(k=5, components=64)
    config.phases.k_same_m = common.phase(0, 64)
  elif kind == "k_same_net":
    _k_same_net(config, scale)
  elif kind == "lowkey":
    _lowkey(config, scale)
  else:
    config.model = dict(kind=kind, strength=STRENGTHS[kind])
    config.phases.baseline = common.phase(0, 64)
  return config


def _k_same_net(config: ConfigDict, scale: str) -> None:
  widths, units, steps = dict(
    demo=((64, 48, 32, 16), 128, 1500),
    gpu=((256, 128, 64, 32), 512, 10_000),
    paper=((512, 256, 128, 64, 32), 512, 40_000),
  )[scale]
  config.model = dict(
    k=5, generator=dict(widths=widths, units=units, norm="group")
  )
  # Colours and frames that vary would be drawn as a blur.
  config.phases.generator = common.phase(
    steps, 64, learning_rate=2e-3, warmup_steps=100, augment=False
  )


def _lowkey(config: ConfigDict, scale: str) -> None:
  """The paper's bound and filter, 3 of 112 pixels; on a CPU fewer steps."""
  small = scale == "demo"
  config.model = dict(
    bound=0.05,  # largest change of a pixel, in [0, 1]
    rate=0.01 if small else 0.0025,  # change of a pixel in a step
    steps=10 if small else 50,
    sigma=3 / 112,  # of the filter, as a share of the side
    pretrained=(),  # recognisers of the ensemble that no one here trained
    recognisers=dict(
      iresnet=dict(
        architecture="iresnet",
        depths=(1, 1, 1, 1) if small else (2, 2, 2, 2),
        width=16 if small else 64,
        features=128 if small else 512,
        stem_stride=2 if small else 1,
        head=dict(kind="arcface", scale=32.0, margin=0.3),
      ),
      vgg=dict(
        architecture="vgg",
        depths=(1, 1, 1, 1) if small else (2, 2, 3, 3),
        width=16 if small else 64,
        features=128 if small else 512,
        head=dict(kind="cosface", scale=32.0, margin=0.2),
      ),
    ),
  )
  for name in config.model.recognisers:
    config.phases[name] = common.phase(
      600 if small else 15_000,
      64 if small else 256,
      learning_rate=4e-3 if small else 1e-3,
      warmup_steps=100,
    )
  config.phases.lowkey = common.phase(0, 64)
