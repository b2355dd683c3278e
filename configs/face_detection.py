"""Face detection: RetinaFace, trained on scenes of many faces.

--config=configs/face_detection.py:demo    128 px, a quarter of an hour on a CPU
--config=configs/face_detection.py:gpu     640 px, MobileNet, one accelerator
--config=configs/face_detection.py:paper   840 px, ResNet-50, as published

The demo and gpu scales draw their scenes. The paper's are a folder, such as
WIDER FACE:

--config.data.path=FOLDER
"""

from ml_collections import ConfigDict

from configs import common

OPTIONS: tuple[str, ...] = ()


def get_config(argument: str = "demo") -> ConfigDict:
  scale, _ = common.parse(argument, OPTIONS)
  config = common.base("face_detection")
  config.data.align = "whole"
  config.data.attributes = ()
  config.model = _model()
  config.attacks.detections = _detections()
  {"demo": _demo, "gpu": _gpu, "paper": _paper}[scale](config)
  for phase in config.phases.values():
    # The method itself mirrors and crops, with boxes and points.
    phase.augmentation.update(
      flip=False, shift=0.0, brightness=0.125, contrast=0.5, saturation=0.5
    )
  return config


def _detections() -> ConfigDict:
  return ConfigDict(
    dict(
      type="detections",
      images=500,  # of the test split, and of each folder
      # Heights of faces in pixels that count in the three settings of WIDER
      # FACE, whose validation set has 34, 16 and 9 at least.
      easy=16.0,
      medium=12.0,
      hard=8.0,
      # Further photographs, as they are: PATH or PATH:SET, folders with a
      # labels.csv, or PATH=LABELS, as WIDER_val/images=wider_face_val.mat,
      # whose keep lists of easy, medium and hard count then.
      folders=(),
    )
  )


def _model() -> ConfigDict:
  return ConfigDict(
    dict(
      backbone="mobilenet",  # or resnet50
      mobilenet=dict(width=0.25),  # channels, of those of MobileNetV1
      resnet50=dict(width=64),  # channels of conv1
      features=64,  # channels of the pyramid
      norm="batch",  # or group, for training with differential privacy
      logits=2,  # of an anchor: no face and face; 1: face
      # Sides of anchors in pixels, the same number for each level.
      sizes=(16.0, 32.0, 64.0, 128.0, 256.0, 512.0),
      positive=0.35,  # overlap from which on an anchor is to find a face
      least=0.2,  # overlap with which a face may claim the best anchor
      negatives=7.0,  # for each anchor with a face, as many without
      weights=dict(detection=1.0, box=2.0, landmarks=1.0),
      crops=(0.3, 0.45, 0.6, 0.8, 1.0),  # shares of the side
      tries=250,  # crops drawn before the whole picture is taken
      side=0,  # of a crop as it is learned from; 0: data.image_size
      test_scales=(1.0,),  # at which whole pictures are looked at
      threshold=0.02,  # that scores of faces exceed
      candidates=1000,  # boxes of a picture that are compared
      overlap=0.4,  # of two boxes, above which one goes
      keep=100,  # faces of a picture at most
    )
  )


def _demo(config: ConfigDict) -> None:
  config.data.image_size = 128
  config.data.max_faces = 8
  config.data.num_identities = 24000
  config.data.images_per_identity = 1
  config.data.splits = dict(train=0.8, attack=0.05, test=0.15)
  # Faces are of 8 to 52 px, and larger in crops.
  config.model.sizes = (10.0, 14.0, 20.0, 30.0, 44.0, 64.0)
  config.model.features = 32
  config.model.crops = (0.6, 0.8, 1.0, 1.0)
  config.model.keep = 32
  config.model.candidates = 200
  config.phases.retinaface = common.phase(
    1800, 32, learning_rate=4e-3, warmup_steps=50, ema=0.99
  )


def _gpu(config: ConfigDict) -> None:
  config.dtype = "bfloat16"
  config.data.update(image_size=640, max_faces=32)
  # A scene of that size takes a second to draw: 2000, once, half an hour.
  config.data.num_identities = 64_000
  config.data.images_per_identity = 1
  config.data.splits = dict(train=0.85, attack=0.05, test=0.1)
  config.phases.retinaface = common.phase(
    10_000, 32, learning_rate=2e-3, warmup_steps=500, ema=0.999
  )


def _paper(config: ConfigDict) -> None:
  """WIDER FACE in a folder; rates fall linearly, not by tenths at epochs."""
  config.data.update(source="folder", image_size=1024, max_faces=256)
  # Nobody is named there.
  config.data.update(split_by="image", cache=False, num_workers=16)
  config.model.update(backbone="resnet50", features=256, side=840)
  config.model.update(candidates=5000, keep=750)
  config.phases.retinaface = common.phase(
    53_700, 24, optimizer="sgd", learning_rate=1e-3, schedule="polynomial",
    weight_decay=5e-4,
  )  # fmt: skip
