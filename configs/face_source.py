"""Faces of nobody: StyleGAN2 under attributes, pose, skin and points.

--config=configs/face_source.py:demo    64 px, drawn people, 40 min on a CPU
--config=configs/face_source.py:gpu     128 px, one accelerator
--config=configs/face_source.py:paper   256 px, a folder

The paper's scale has networks and rates as published, and a folder:

--config.data.path=FOLDER
"""

from ml_collections import ConfigDict

from configs import common

OPTIONS: tuple[str, ...] = ()


def get_config(argument: str = "demo") -> ConfigDict:
  scale, _ = common.parse(argument, OPTIONS)
  config = common.base("face_source")
  config.data.attributes = ("Male", "Young")
  config.model = _model()
  config.attacks.generation = common.generation()
  {"demo": _demo, "gpu": _gpu, "paper": _paper}[scale](config)
  return config


def _model() -> ConfigDict:
  return ConfigDict(
    dict(
      latent=512,  # numbers of noise
      mapping=dict(width=512, layers=8, rate=0.01),
      synthesis=dict(base=2**14, most=512),  # channels
      # And images whose deviation it sees.
      discriminator=dict(base=2**14, most=512, group=4),
      r1=1.0,  # weight of the penalty of slopes at photographs,
      every=16,  # which is of every k-th step, times k
      truncation=0.7,  # of samples
      points=True,  # whether networks are told where five points are
      auxiliary=0.3,  # weight of what is misread of conditions
    )
  )


def _phase(steps: int, batch_size: int, **options) -> ConfigDict:
  # Mirrored by the method, with pose and points.
  return common.phase(
    steps,
    batch_size,
    betas=(0.0, 0.99),
    schedule="constant",
    augment=False,
    **options,
  )


def _demo(config: ConfigDict) -> None:
  config.data.image_size = 64
  config.data.num_identities = 3000
  config.data.images_per_identity = 4
  config.model.latent = 64
  config.model.mapping.update(width=64, layers=4)
  config.model.synthesis.update(base=1024, most=64)
  config.model.discriminator.update(base=512, most=64)
  config.model.r1 = 0.1
  config.phases.source = _phase(6000, 16, learning_rate=2e-3, ema=0.995)


def _gpu(config: ConfigDict) -> None:
  config.dtype = "bfloat16"
  config.data.image_size = 128
  config.data.num_identities = 10000
  config.data.images_per_identity = 8
  config.model.synthesis.update(base=2**13)
  config.model.discriminator.update(base=2**13)
  config.model.r1 = 0.2
  config.phases.source = _phase(100_000, 32, learning_rate=2.5e-3, ema=0.998)


def _paper(config: ConfigDict) -> None:
  """25 million images in batches of 64, averaged over some 20 thousand."""
  config.data.update(source="folder", image_size=256, cache=False)
  config.data.num_workers = 8
  config.data.attributes = ("Male",)
  config.phases.source = _phase(390_625, 64, learning_rate=2.5e-3, ema=0.998)
