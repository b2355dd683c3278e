"""Settings that all configs share, with their defaults and meanings."""

import math
from collections.abc import Collection
from typing import Any

from ml_collections import ConfigDict

SCALES = ("demo", "gpu", "paper")


def parse(argument: str, known: Collection[str]) -> tuple[str, set[str]]:
  """Reads "demo" or "demo,option,..." after the colon of --config=file:...

  Args:
    argument: what is read.
    known: the options that there are.
  """
  scale, *options = (argument or "demo").split(",")
  if scale not in SCALES:
    raise ValueError(
      f"unknown scale {scale!r}: use one of {', '.join(SCALES)}, as in"
      " --config=embedded_autoencoder:demo"
    )
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(
      f"unknown option {', '.join(unknown)}: there is"
      f" {', '.join(known) or 'none'}"
    )
  return scale, set(options)


def base(method: str, mechanism: str = "") -> ConfigDict:
  """A config with all settings but model and phases."""
  config = ConfigDict()
  config.method = method
  # The mechanism's name in tables, if one method serves several mechanisms.
  config.mechanism = mechanism or method
  config.seed = 0
  # Compute precision; parameters, statistics and losses are float32.
  config.dtype = "float32"
  # A finished run directory of the same method to take parameters from. Phases
  # with 0 steps here are used as they are there.
  config.pretrained = ""
  config.pretrained_phases = ()  # its phases to take; () is all
  config.data = data()
  config.phases = ConfigDict()
  config.dp = dp()
  config.federated = federated()
  config.train = train()
  config.evaluation = evaluation()
  # Attacks: name -> type, a module of jaxpriv.attacks; controls, the controls
  # that it also attacks ("all", or names); and the attack's own options.
  config.attacks = attacks()
  # Alternatives to the mechanism: name -> changes of this config.
  config.controls = controls()
  config.release = release()
  return config


def data() -> ConfigDict:
  """The source of faces; see jaxpriv.data.sources."""
  return ConfigDict(
    dict(
      source="procedural",  # or folder, tfds, array_record, feature_pools
      own="procedural",  # feature_pools: source of one's own images
      pools=(),  # feature_pools: folders of launch.release
      path="",
      name="",  # TFDS: celeb_a, lfw, or wider_face with max_faces
      split="",  # TFDS: one split; "" is all
      sets=(),  # folder: values of the column "set"; () is all
      attributes=(),  # () is the source's own choice, ("all",) all of them
      num_people=0,  # filled in from the data
      image_size=64,
      align="landmarks",  # or head, box, centre, whole
      # Folder: in photographs that name neither a box nor points, faces are
      # found with scores above this, once launch.fetch has fetched BlazeFace,
      # from 0 to 1; higher finds fewer faces and fewer things that are none. 0
      # finds nothing, and takes such photographs as they are.
      face_threshold=0.5,
      level=1,  # folder without labels.csv: how deep the folders of people are
      # Photographs that show the same picture are left out but one; one picture
      # under two names is refused. leave_out: none of these is used. keep:
      # nothing is looked for, and copies may be on both sides of a comparison.
      copies="refuse",
      max_faces=0,  # of a scene, which is framed whole; 0: one face per record
      cache=True,  # decode once and keep in memory
      num_workers=0,  # decoding processes when not cached
      max_bad_share=0.01,  # stop when more images are unreadable
      # Shares of people. Attackers train on "attack", "test" is for scoring.
      splits=dict(train=0.6, attack=0.2, test=0.2),
      split_by="person",  # or image: people may occur in every split
      num_identities=2000,  # procedural
      images_per_identity=10,
      seed=0,
      domain="human",  # procedural; or cat, dog, wild, some as human,cat, all
    )
  )


def train() -> ConfigDict:
  """Cadences of the training loop in steps; 0 is never."""
  return ConfigDict(
    dict(
      log_every=20,
      evaluate_every=0,
      save_every=500,
      keep=2,
      profile=(0, 0),  # first step of a profiler trace, and first after it
      validation_images=512,
    )
  )


def phase(steps: int, batch_size: int, **overrides: Any) -> ConfigDict:
  """Options of one phase."""
  options = ConfigDict(
    dict(
      steps=steps,
      batch_size=batch_size,
      optimizer="adam",  # or adam_l2, with decay in the gradient; sgd
      learning_rate=1e-3,
      schedule="cosine",  # or constant, polynomial
      warmup_steps=0,
      momentum=0.9,  # sgd
      betas=(0.9, 0.999),  # adam
      weight_decay=0.0,
      clip_norm=0.0,  # of the whole gradient; 0 is off
      accumulate=1,  # microbatches a step
      ema=0.0,  # decay of averaged parameters; 0 is off
      trainable=(),  # prefixes of names of parameters to train; () is all
      augment=True,
      augmentation=augmentation(),
    )
  )
  options.update(overrides)
  return options


def reading(scale: str) -> ConfigDict:
  """Options of a phase that reads a folder once, and learns nothing.

  Its batch is only shown; a folder of few photographs must have as many.
  """
  return phase(1, dict(demo=8, gpu=64, paper=256)[scale], augment=False)


def augmentation() -> ConfigDict:
  """Strengths of random changes, on the device; 0 or False is off."""
  return ConfigDict(
    dict(
      flip=True,
      shift=0.05,
      brightness=0.1,
      contrast=0.1,
      saturation=0.1,
    )
  )


def dp() -> ConfigDict:
  """Differentially private training; see jaxpriv.privacy.plan.

  The batch_size of a private phase is the expected number of units in a Poisson
  batch.
  """
  return ConfigDict(
    dict(
      epsilon=math.inf,  # budget of the whole run; inf is no privacy
      delta=1e-5,  # below 1 / number of units
      noise_multiplier=0.0,  # 0: the smallest that keeps to the budget
      accountant="pld",  # or rdp
      phases=(),  # the private phases; () is all
      unit="image",  # the protected unit: image, or person
      images_per_person=4,  # in a batch, if the unit is the person
      clip_norm=1.0,  # of the gradient of a unit
      # Groups of parameters to clip separately: prefix of names -> clip norm.
      group_clip_norms=ConfigDict(),
      per_layer=False,  # clip each layer separately
      allocation="uniform",  # of noise to groups, or "dimension"
      # Random views of an image whose gradients are averaged before the clip.
      augmentation_multiplicity=1,
      microbatch_size=0,  # the most units a device works on at once; 0: fastest
    )
  )


def federated() -> ConfigDict:
  """Training by clients who keep their images; see jaxpriv.training.federated.

  A step of a federated phase is a round. Its batch_size is the examples of a
  local step of one client, and its learning rate, schedule and warm-up are
  those of local steps.
  """
  return ConfigDict(
    dict(
      clients=0,  # how many; 0: training is not federated
      phases=(),  # the federated phases; () is all
      by="person",  # whose images one client has, or record: any images
      shares=(),  # relative sizes of clients; () is equal ones
      local_steps=10,  # of each client in a round
      # The server's step along the mean of what clients have learned: sgd at
      # rate 1 is FedAvg, with momentum FedAvgM; adam is FedAdam.
      server=dict(optimizer="sgd", learning_rate=1.0, momentum=0.0),
      proximal=0.0,  # FedProx: pulls clients to the server's parameters
      statistics="average",  # of BatchNorm, or local: clients keep their own
      secure=False,  # aggregation by masked sums, simulated
      secure_range=8.0,  # to which each change of a parameter is clipped then
    )
  )


def evaluation() -> ConfigDict:
  """The attackers and their training; see jaxpriv.attacks.evaluation."""
  options = ConfigDict()
  options.batch_size = 128
  # People the attackers learn on; the test people are never among them.
  options.attacker_splits = ("train", "attack")
  options.max_attacker_images = 50_000
  options.max_test_images = 20_000
  # Largest field of the records, in bytes, to hold in memory and not in a file.
  options.memory = 2**31
  options.attacks = ()  # names in config.attacks; () is all
  # The names in config.controls to attack in addition to the mechanism.
  options.controls = tuple(controls())
  # A recogniser that no loss has used, and its margin loss.
  options.recogniser = dict(
    architecture="vgg", depths=(1, 1, 2, 2), width=12, features=128
  )
  # Networks that no one here trained, of jaxpriv.models.pretrained: they tell
  # people or attributes. Those that are not fetched are left out, and named.
  options.witnesses = ("faceres", "dlib", "age_gender", "expressions")
  options.head = dict(kind="cosface", scale=32.0, margin=0.2)
  # Attribute predictors that the mechanism has not seen.
  options.predictors = dict(
    fsn=dict(
      architecture="fsn",
      widths=(8, 16, 32, 64, 64, 64),
      pool_strides=(2, 2, 2, 1, 1, 1),
      group_units=(128, 64),
      dropout=0.1,
    ),
    vgg=dict(architecture="vgg", depths=(1, 1, 1, 1), width=12, features=64),
  )
  options.phases = dict(
    recogniser=phase(800, 64, learning_rate=6e-3, warmup_steps=100),
    parrot=phase(500, 64, learning_rate=2e-3, warmup_steps=50),
    fsn=phase(600, 64, learning_rate=4e-3, warmup_steps=100),
    vgg=phase(500, 64, learning_rate=6e-3, warmup_steps=100),
    map=phase(600, 64, learning_rate=1e-3, warmup_steps=50, augment=False),
    repair=phase(600, 32, learning_rate=2e-3, warmup_steps=50, augment=False),
  )
  return options


def attacks() -> ConfigDict:
  """Attacks on images and on models."""
  return ConfigDict(
    dict(
      reidentification=dict(type="reidentification", controls=("all",)),
      # It learns from protected images of each target, which takes long: name
      # the controls that it should also attack.
      parrot=dict(type="parrot", controls=()),
      attributes_of_loss=dict(
        type="attribute_inference", by="loss", controls=("all",)
      ),
      attributes=dict(type="attribute_inference", by="fresh", controls=()),
      attributes_by_others=dict(
        type="attribute_inference", by="others", controls=("all",)
      ),
      # Likewise of each target.
      embedding_map=dict(
        type="embedding_map",
        pairs=(256, 4096),  # photographs beside what is released of them
        network=64,  # hidden units; 0: least squares alone
        controls=(),
      ),
      likeness=dict(type="likeness", controls=("all",)),
      # Likewise.
      repair=dict(
        type="repair",
        components=256,  # of the Gaussian model of photographs
        widths=(16, 32, 64),  # of a U-Net, the finest scale first
        rounds=1,  # times that it is applied, more for large holes; 0: no U-Net
        controls=(),
      ),
      scores=dict(type="scores", detection_images=500),
    )
  )


def generation(domain: Any = "") -> ConfigDict:
  """How good and how various made images are; see jaxpriv.attacks.generation.

  Args:
    domain: that they are to show, or a reference to it; "": as photographs do.
  """
  return ConfigDict(
    dict(
      type="generation",
      domain=domain,
      outputs=10,  # of one source, for their diversity
      neighbours=3,  # of an image, that bound the ball of precision and recall
      most=1000,  # images of a set
      controls=(),
    )
  )


def whole_photographs() -> ConfigDict:
  """An attack on faces that are pasted back into their photographs."""
  return ConfigDict(
    dict(
      type="whole_photographs",
      photographs=400,  # at most
      pairs=400,  # that a map is learned from, at most; 0: none is
      blend="feather",
      match=False,
      controls=("gaussian_blur",),
    )
  )


def controls() -> ConfigDict:
  """Training-free baselines, compared with a mechanism that releases images."""
  plain = lambda kind, strength: dict(
    method="baselines",
    model=dict(kind=kind, strength=strength),
    phases=dict(baseline=dict(steps=0)),
  )
  averages = lambda kind: dict(
    method="k_same",
    model=dict(kind=kind, k=5, components=64),
    phases=dict(k_same=dict(steps=0)),
    release=dict(batch_size=0),  # everybody in one batch
  )
  return ConfigDict(
    dict(
      black_box=plain("black_box", 0.25),
      gaussian_blur=plain("gaussian_blur", 0.08),
      pixelation=plain("pixelation", 0.125),
      k_same=averages("pixel"),
      k_same_eigen=averages("eigen"),
      k_same_select=averages("select"),
      k_same_m=dict(
        method="k_same_m",
        model=dict(k=5, components=64),
        phases=dict(k_same_m=dict(steps=0)),
        release=dict(batch_size=0),
      ),
    )
  )


def release() -> ConfigDict:
  """The output of launch.release; see there."""
  return ConfigDict(
    dict(
      batch_size=128,
      # Attributes written to labels.csv; () for those the mechanism keeps.
      attributes=(),
      # Secret settings, such as model.secret: zero or empty in everything that
      # is published or reported.
      withheld=(),
      terms="",  # one sentence for the card: who may use this, how
    )
  )
