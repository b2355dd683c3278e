"""Deep poisoning of features, and alternative protections of features.

--config=configs/deep_poisoning.py:demo     64 px, minutes on a CPU
--config=configs/deep_poisoning.py:gpu      128 px, ResNet-50, one accelerator
--config=configs/deep_poisoning.py:paper    224 px, ResNet-101, as published
--config=configs/deep_poisoning.py:demo,refreshed,noise   variants, combined:

distilled   add a KL term so that other deciders agree (on in demo and gpu)
refreshed   an inverter keeps learning while the module does
keyed       each image draws a secret key
noise, gaussian, mean   applied after the module
bare        no module: only what follows it, or clean features
shredder, nopeek, obfuscator   alternatives from the literature
vgg         VGG in place of ResNet
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

AFTER = dict(noise=1.0, gaussian=1.0, mean=3)
INSTEAD = ("shredder", "nopeek", "obfuscator")
OPTIONS = ("distilled", "refreshed", "keyed", *AFTER, "bare", *INSTEAD, "vgg")


def get_config(argument: str = "demo") -> ConfigDict:
  scale, options = common.parse(argument, OPTIONS)
  chosen = [name for name in OPTIONS if name in options and name != "vgg"]
  config = common.base("deep_poisoning", "_".join(chosen) or "deep_poisoning")
  config.model = _model()
  _evaluation(config)
  {"demo": _demo, "gpu": _gpu, "paper": _paper}[scale](config)
  _choose(config, options)
  return config


def _model() -> ConfigDict:
  return ConfigDict(
    dict(
      task="attributes",  # or identity, with data.split_by=image
      kept=(),  # attributes that form the task; () is the first half
      backbone="resnet",  # or vgg
      layer="conv4_1",  # or conv3_1, conv2_3; block2 for vgg
      resnet=dict(
        depths=(3, 4, 6, 3),
        width=64,
        stem=(7, 2, True),
        pooled=True,
        norm="batch",
      ),
      vgg=dict(depths=(2, 2, 3, 3, 3), width=64, norm="batch"),
      reconstructor=dict(
        blocks=2,
        factor=2,
        shuffle=False,
        residual=False,
        output="clamp",
        norm="batch",
        expansion=0.5,
      ),
      featurizer="plain",  # or nopeek, obfuscator
      nopeek=0.1,  # weight of the distance correlation
      obfuscation=1.0,  # weight of both adversaries
      module="dpm",  # or shredder, none
      dpm=dict(blocks=4, code=0, spread=1.0, norm="batch", identity=False),
      shredder=dict(count=8, scale=1.0),
      shredding=0.1,  # weight of the noise's size
      weight=10.0,  # lambda, of SSIM; the other term is a sum over attributes
      absolute=False,  # |SSIM| in place of max(SSIM, 0)
      distillation=0.0,  # weight of KL(D(z) || D(P(z)))
      refreshed=False,
      after=dict(noise=0.0, gaussian=0.0, mean=0),
      # Keys and noise are functions of it and the image: choose your own.
      secret=0,
    )
  )


def _evaluation(config: ConfigDict) -> None:
  """Attackers of features; see jaxpriv.attacks.scene."""
  options = config.evaluation
  config.attacks = dict(
    bounds=dict(type="bounds"),
    decider=dict(type="decision", controls=("all",)),
    A0=dict(
      type="unseen_inverters",
      unseen=5,  # reconstructors that the module was not trained against
      controls=("all",),
    ),
    A1=dict(
      type="known_pairs",
      pairs=(1, 4, 16, 64, 256, 1024, 4096, 16384),
      fewest_pairs=16,  # for training an inverter; below, least squares only
      controls=("all",),
    ),
    A2=dict(type="chosen_photographs"),
    A3=dict(type="own_modules", modules=3),  # modules the attacker trains
    A4=dict(type="colluding_modules"),
    A5=dict(type="unpaired"),
    A6=dict(type="leaked_module", searched=64),  # photographs
    A7=dict(type="probing"),
    A8=dict(type="linkage", linked=1000),  # photographs
    # Photographs beside what is released of them; hidden units of a network.
    embedding_map=dict(type="embedding_map", pairs=(256, 4096), network=64),
    scores=dict(type="scores"),  # for a decider that is trained on pools
  )
  # Other defences of the same features.
  config.controls = {f"{name}_alone": _alone(name) for name in AFTER}
  options.controls = tuple(config.controls)
  options.threshold_ssim = 0.4  # report the number of known pairs it takes
  options.colluders = ()  # A4: run directories of other entities
  steps = lambda count, rate, **other: common.phase(
    count, 32, learning_rate=rate, warmup_steps=20, augment=False, **other
  )
  options.phases.inverter = steps(400, 4e-3)
  options.phases.module = steps(250, 2e-3)
  options.phases.probe = steps(1000, 2e-3)


def _alone(name: str) -> dict[str, Any]:
  """No module, only the one named operation after it."""
  after = {kind: type(value)(0) for kind, value in AFTER.items()}
  return dict(
    model=dict(
      module="none", refreshed=False, after={**after, name: AFTER[name]}
    ),
    phases=dict(poisoning=dict(steps=0)),
  )


def _choose(config: ConfigDict, options: set[str]) -> None:
  model = config.model
  for name in options & set(AFTER):
    model.after[name] = AFTER[name]
  if "bare" in options:
    model.module = "none"
  if "distilled" in options:
    model.distillation = 4.0
  if "keyed" in options:
    model.dpm.code = 16
  if "refreshed" in options:
    model.refreshed = True
    # Players of the game keep no batch statistics.
    model.dpm.norm = model.reconstructor.norm = "group"
  if "shredder" in options:
    model.module = "shredder"
  for name in options & {"nopeek", "obfuscator"}:
    model.featurizer = name
    model.module = "none"
  if "obfuscator" in options:
    model.resnet.norm = model.vgg.norm = model.reconstructor.norm = "group"
  if "vgg" in options:
    model.backbone, model.layer = "vgg", "block2"
  if model.module == "none":
    config.phases.poisoning.steps = 0


def _demo(config: ConfigDict) -> None:
  config.data.image_size = 64
  config.data.attributes = ("all",)
  config.data.num_identities = 3000
  config.data.images_per_identity = 8
  config.data.splits = dict(train=0.5, attack=0.35, test=0.15)
  config.evaluation.max_attacker_images = 17000
  config.evaluation.max_test_images = 1600
  model = config.model
  # At this width, conv3_1 has too few channels to show a face.
  model.layer = "conv2_1"
  model.resnet.update(
    depths=(1, 1, 1), width=8, stem=(3, 2, False), pooled=False
  )
  model.vgg.update(depths=(1, 1, 1, 1), width=16)
  model.reconstructor.update(shuffle=True, norm="group", expansion=1.0)
  model.dpm.norm = "group"
  _not_as_published(model)
  phase = lambda steps, rate: common.phase(
    steps, 64, learning_rate=rate, warmup_steps=50
  )
  config.phases.classifier = phase(800, 2e-3)
  config.phases.reconstructor = phase(600, 4e-3)
  config.phases.poisoning = phase(600, 2e-3)
  attackers = config.evaluation.phases
  for phase in (*config.phases.values(), *attackers.values()):
    phase.augmentation.update(shift=0, brightness=0, contrast=0, saturation=0)


def _not_as_published(model: ConfigDict) -> None:
  """Departs from the paper, to lose less accuracy and make no negatives."""
  model.distillation = 4.0
  model.absolute = True


def _gpu(config: ConfigDict) -> None:
  config.dtype = "bfloat16"
  _not_as_published(config.model)
  config.data.image_size = 128
  config.data.attributes = ("all",)
  config.data.num_identities = 10000
  config.data.images_per_identity = 16
  config.data.splits = dict(train=0.5, attack=0.35, test=0.15)
  config.phases.classifier = common.phase(8000, 256)
  config.phases.reconstructor = common.phase(8000, 128)
  config.phases.poisoning = common.phase(8000, 128)
  _as_strong_as_the_owner(config)


def _paper(config: ConfigDict) -> None:
  """CelebA's first 20 attributes are the task, its last 20 hidden.

  The paper states neither lambda nor rates, batch sizes or steps: these values
  are ours.
  """
  config.dtype = "bfloat16"
  config.data.update(source="tfds", name="celeb_a", image_size=224, align="box")
  config.data.attributes = ("all",)
  config.data.cache = False
  config.data.num_workers = 8
  config.data.splits = dict(train=0.5, attack=0.35, test=0.15)
  config.model.resnet.depths = (3, 4, 23, 3)
  config.phases.classifier = common.phase(
      60000, 256, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4,
      warmup_steps=1000,
  )  # fmt: skip
  config.phases.reconstructor = common.phase(60000, 128)
  config.phases.poisoning = common.phase(60000, 128)
  _as_strong_as_the_owner(config)


def _as_strong_as_the_owner(config: ConfigDict) -> None:
  """Lets attackers train as long as the owner does."""
  attackers = config.evaluation.phases
  for name, own in (("inverter", "reconstructor"), ("module", "poisoning")):
    attackers[name] = config.phases[own].copy_and_resolve_references()
    attackers[name].augment = False
  for name in ("recogniser", "vgg"):  # readers of reconstructions
    attackers[name].steps = config.phases.classifier.steps
