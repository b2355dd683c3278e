"""DP multi-task learning: detection, landmarks, visibility, pose, gender.

--config=configs/dp_multitask.py:demo   64 px, minutes on a CPU
--config=configs/dp_multitask.py:gpu    128 px, one accelerator
--config=configs/dp_multitask.py:paper  HyperFace at 227 px

Training is private only with a budget: --config.dp.epsilon=8
"""

from ml_collections import ConfigDict

from configs import common

OPTIONS: tuple[str, ...] = ()


def get_config(argument: str = "demo") -> ConfigDict:
  scale, _ = common.parse(argument, OPTIONS)
  config = common.base("dp_multitask")
  # Photographs are not aligned: finding the face is a task.
  config.data.align = "centre"
  config.data.attributes = ("Male",)
  config.model = _model()
  config.dp.group_clip_norms = {"log_variances": 0.3}
  {"demo": _demo, "gpu": _gpu, "paper": _paper}[scale](config)
  for phase in config.phases.values():
    # The method itself moves, scales and mirrors regions with their labels.
    phase.augmentation.update(flip=False, shift=0.0)
  return config


def _model() -> ConfigDict:
  return ConfigDict(
    dict(
      architecture="small",  # or hyperface
      tasks=("detection", "landmarks", "visibility", "pose", "gender"),
      side=40,  # side of a region as input of the network
      context=1.5,  # side of the crop the network sees, over that of the face
      near=1,  # regions of a photograph in training: around the face
      anywhere=1,  # and anywhere
      units=32,  # units of a layer before each task's outputs; 0: no layer
      dropout=0.0,
      # Initial values, in the order of the tasks; low for small squared errors.
      log_variances=(0.0, -3.0, -2.0, -3.0, 0.0),
      log_variance_range=3.0,  # largest distance of learned values from these
      small=dict(
        widths=(16, 32, 48, 64),
        features=128,
        gradients=0,  # side of the cells of fixed features; 0: pixels
        standardize=False,
      ),
      hyperface=dict(width=96, features=3072),
      # Windows of detection, as shares of the photograph's side.
      pyramid=dict(smallest=0.35, growth=1.3, stride=0.2, keep=20),
    )
  )


def _demo(config: ConfigDict) -> None:
  config.data.image_size = 64
  config.data.num_identities = 20000
  config.data.images_per_identity = 1
  config.data.splits = dict(train=0.8, attack=0.02, test=0.18)
  # Few parameters, and fixed features: each learned parameter adds noise.
  config.model.small.update(widths=(), features=64, gradients=8)
  config.model.update(units=0, near=2)
  # Learned freely, they favour the easy tasks, and gender is lost in noise.
  config.model.log_variances = (0.0, -5.5, -2.0, -3.0, -0.5)
  config.model.log_variance_range = 0.3
  config.phases.multi_task = common.phase(
    600, 1024, learning_rate=6e-3, warmup_steps=30, ema=0.98
  )


def _gpu(config: ConfigDict) -> None:
  config.dtype = "bfloat16"
  config.data.image_size = 128
  config.data.num_identities = 100000
  config.data.images_per_identity = 1
  config.data.splits = dict(train=0.9, attack=0.02, test=0.08)
  config.model.update(side=64, units=256, near=4, anywhere=4)
  config.model.small.update(widths=(32, 64, 128, 256, 256), features=512)
  config.phases.multi_task = common.phase(
    3000, 4096, learning_rate=2e-3, warmup_steps=100, ema=0.99
  )


def _paper(config: ConfigDict) -> None:
  """HyperFace; its rates and sizes are the paper's, DP's are not stated."""
  config.data.update(source="folder", image_size=256)
  config.model.update(
    architecture="hyperface", side=227, units=512, dropout=0.5, near=1
  )
  config.phases.multi_task = common.phase(
    20000, 64, optimizer="sgd", learning_rate=1e-2, schedule="polynomial"
  )
