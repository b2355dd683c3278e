"""Face synthesis: faces of another domain in the place of people's.

--config=configs/face_synthesis.py:demo    64 px, half an hour on a CPU
--config=configs/face_synthesis.py:gpu     128 px, one accelerator
--config=configs/face_synthesis.py:paper   256 px, as published

| option | what |
|---|---|
| high_pass | details about eyes, nose and mouth pass the generator by |
| references | releases in styles of photographs: --config.model.folder=FOLDER |
"""

from ml_collections import ConfigDict

from configs import common

OPTIONS = ("high_pass", "references")


def get_config(argument: str = "demo") -> ConfigDict:
  scale, options = common.parse(argument, OPTIONS)
  config = common.base("face_synthesis")
  config.data.domain = "all"
  config.data.attributes = ()
  config.model = _model()
  # Whether releases show the target, in the pose of the photograph.
  config.attacks.domains = dict(
    type="domains", domain=config.model.get_ref("target"), controls=()
  )
  config.attacks.generation = common.generation(config.model.get_ref("target"))
  config.attacks.whole_photographs = common.whole_photographs()
  config.evaluation.phases.domains = common.phase(
    600, 64, learning_rate=1e-2, warmup_steps=50, augment=False
  )
  {"demo": _demo, "gpu": _gpu, "paper": _paper}[scale](config)
  if "high_pass" in options:
    config.model.generator.high_pass = 1.0
  if "references" in options:
    # Photographs of the target domain; a folder of more is refused.
    config.model.update(folder="", most=1000)
    config.phases.references = common.reading(scale)
  return config


def _model() -> ConfigDict:
  return ConfigDict(
    dict(
      domains=("human", "cat", "dog", "wild"),
      target="cat",  # the domain of what is released
      latent=16,  # numbers of noise
      style=64,
      mapping=dict(hidden=512, shared=4),
      mapping_rate=0.01,  # of the learning rate, for the mapping network
      generator=dict(width=0, most=512, halvings=0, high_pass=0.0),
      encoder=dict(width=0, most=512),  # of styles, and the discriminator
      # sty, ds and cyc are 1 for faces, and ds is 2 for animals in the paper.
      weights=dict(reg=1.0, sty=1.0, ds=1.0, ds_steps=100_000, cyc=1.0),
      secret=0,  # styles are drawn by it; 0 is everybody's
    )
  )


def _phase(steps: int, batch_size: int, **options) -> ConfigDict:
  options = common.phase(
    steps,
    batch_size,
    optimizer="adam_l2",
    betas=(0.0, 0.99),
    schedule="constant",
    weight_decay=1e-4,
    ema=0.999,
    balance="domain",  # of which there are as many in a batch; "": as they come
    **options,
  )
  # Mirrored by the method, with the points of faces.
  options.augmentation.update(
    flip=False, shift=0, brightness=0, contrast=0, saturation=0
  )
  return options


def _demo(config: ConfigDict) -> None:
  config.data.image_size = 64
  config.data.num_identities = 3000
  config.data.images_per_identity = 4
  config.data.domain = "human,cat,dog"
  config.model.domains = ("human", "cat", "dog")
  config.model.generator.update(width=8, most=64, halvings=3)
  config.model.encoder.update(width=8, most=64)
  config.model.mapping.update(hidden=128, shared=2)
  config.model.weights.ds_steps = 2500
  config.phases.stargan = _phase(2500, 16, learning_rate=1e-3)


def _gpu(config: ConfigDict) -> None:
  config.dtype = "bfloat16"
  config.data.image_size = 128
  config.data.num_identities = 10000
  config.data.images_per_identity = 8
  config.model.generator.width = config.model.encoder.width = 64
  config.model.weights.update(ds=2.0, ds_steps=50_000)
  config.phases.stargan = _phase(50_000, 32, learning_rate=1e-4)


def _paper(config: ConfigDict) -> None:
  """CelebA and AFHQ in one folder, whose labels.csv names domains."""
  config.data.update(source="folder", image_size=256, cache=False)
  config.data.num_workers = 8
  config.model.weights.ds = 2.0
  config.phases.stargan = _phase(100_000, 8, learning_rate=1e-4)
