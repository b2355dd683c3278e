"""The demo config of a mechanism, shrunk until a step takes milliseconds."""

import numpy as np

from configs import baseline as baseline_config
from configs import deep_poisoning as deep_poisoning_config
from configs import dp_multitask as dp_multitask_config
from configs import embedded_autoencoder as embedded_autoencoder_config
from configs import face_detection as face_detection_config
from configs import face_replacement as face_replacement_config
from configs import face_source as face_source_config
from configs import face_synthesis as face_synthesis_config
from configs import mask_desensitization as mask_desensitization_config
from jaxpriv.data import records
from jaxpriv.data.procedural import ProceduralFaces, ProceduralScenes

PEOPLE = 6
SIDE = 32


def embedded_autoencoder(argument="demo", **model):
  config = embedded_autoencoder_config.get_config(argument)
  with config.unlocked():
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.attributes = ("Male", "Smiling")
    config.data.num_people = PEOPLE
    config.model.fsn.update(
      widths=(8, 8, 16, 16),
      pool_strides=(2, 2, 2, 1),
      group_units=(64, 16),
      dropout=0.5,
    )
    config.model.pen.update(depths=(1, 1), width=8, features=32, stem_stride=2)
    config.model.external.widths = (8, 8, 16, 16, 16)
    config.model.code.update(widths=(16, 16, 16, 8, 8), code=8)
    config.model.update(model)
    for options in config.phases.values():
      # Plain SGD: Adam would blow rounding of small gradients up to its rate.
      options.update(
        steps=3, batch_size=16, optimizer="sgd", learning_rate=1e-2
      )
  return config


def mask_desensitization(argument="demo", **model):
  config = mask_desensitization_config.get_config(argument)
  with config.unlocked():
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.num_people = PEOPLE
    config.model.backbone.update(depths=(1, 1), width=8, features=16)
    config.model.layer = 2
    config.model.search.update(at_once=8, photographs=8, components=4)
    config.model.update(model)
    for options in config.phases.values():
      options.update(
        steps=2, batch_size=16, optimizer="sgd", learning_rate=1e-2
      )
  return config


def face_synthesis(argument="demo", **model):
  config = face_synthesis_config.get_config(argument)
  with config.unlocked():
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.num_people = PEOPLE
    config.model.update(latent=4, style=4)
    config.model.generator.update(width=4, most=8, halvings=2)
    config.model.encoder.update(width=4, most=8)
    config.model.mapping.update(hidden=8, shared=1)
    config.model.update(model)
    config.phases.stargan.update(
      steps=2, batch_size=16, optimizer="sgd", learning_rate=1e-2
    )
  return config


def face_replacement(argument="demo", **model):
  config = face_replacement_config.get_config(argument)
  with config.unlocked():
    config.evaluation.controls = ()
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.attributes = ("Male",)
    if "learned" in argument:
      _smaller_source(config)
    config.model.update(model)
  return config


def face_source(argument="demo", **model):
  config = face_source_config.get_config(argument)
  with config.unlocked():
    config.data.image_size = SIDE
    config.data.attributes = ("Male",)
    _smaller_source(config)
    config.model.update(model)
  return config


def _smaller_source(config):
  config.model.latent = 8
  config.model.mapping.update(width=8, layers=2, rate=0.5)
  config.model.synthesis.update(base=128, most=8)
  config.model.discriminator.update(base=128, most=8)
  config.model.every = 2
  config.phases.source.update(
    steps=2, batch_size=16, optimizer="sgd", learning_rate=1e-2
  )


def face_detection(argument="demo", **model):
  config = face_detection_config.get_config(argument)
  with config.unlocked():
    config.data.image_size = SIDE
    config.model.mobilenet.width = 0.125
    config.model.update(features=8, keep=8, candidates=32)
    config.model.sizes = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
    config.model.update(model)
    # Gradients are large before anything is learned, and so are their errors.
    config.phases.retinaface.update(
      steps=2, batch_size=16, optimizer="sgd", learning_rate=1e-5, ema=0.0
    )
  return config


def baseline(kind, **model):
  config = baseline_config.get_config(f"demo,{kind}")
  with config.unlocked():
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.attributes = ("Male", "Smiling")
    config.data.num_people = PEOPLE
    if kind == "k_same_net":
      config.model.generator.update(widths=(16, 8, 8), units=16)
    if kind == "lowkey":
      config.model.steps = 2
      config.model.recognisers.iresnet.update(
        depths=(1, 1), width=8, features=16
      )
      config.model.recognisers.vgg.update(depths=(1, 1), width=8, features=16)
    config.model.update(model)
    for options in config.phases.values():
      options.update(batch_size=16, optimizer="sgd", learning_rate=1e-2)
      options.steps = 3 if options.steps else 0
  return config


def batch(rows=16, seed=0, side=SIDE, attributes=2):
  """A labelled batch as a pipeline gives it; one attribute is unknown."""
  rng = np.random.default_rng(seed)
  result = {
    "image": rng.integers(0, 256, (rows, side, side, 3), np.uint8),
    "identity": rng.integers(0, PEOPLE, rows).astype(np.int32),
    "attributes": rng.integers(0, 2, (rows, attributes)).astype(np.int8),
    "landmarks": np.full((rows, len(records.LANDMARKS), 2), np.nan, np.float32),
    "domain": np.zeros(rows, np.int32),
    "index": np.arange(rows),
    "padding": np.zeros(rows, bool),
  }
  result["attributes"][0, 0] = -1
  return result


def dp_multitask(**model):
  config = dp_multitask_config.get_config("demo")
  with config.unlocked():
    config.data.image_size = SIDE
    config.data.num_people = PEOPLE
    config.model.update(side=16, units=8, near=1)
    config.model.log_variances = (0.0, -3.0, -2.0, -3.0, 0.0)
    config.model.log_variance_range = 2.0
    config.model.small.update(widths=(8, 16), features=16, gradients=4)
    config.model.update(model)
    config.phases.multi_task.update(
      steps=3, batch_size=16, optimizer="sgd", learning_rate=1e-2, ema=0.0
    )
  return config


def faces(rows=16, seed=0, size=SIDE):
  """A batch of drawn photographs, with all labels, of one attribute."""
  source = ProceduralFaces(rows, 1, size, seed)
  result = dict(source.batch(np.arange(rows)))
  male = source.attribute_names.index("Male")
  result["attributes"] = result["attributes"][:, [male]].copy()
  result |= {"index": np.arange(rows), "padding": np.zeros(rows, bool)}
  return result


def scenes(rows=16, seed=0, size=SIDE, max_faces=4):
  """A batch of drawn pictures of several people."""
  source = ProceduralScenes(
    rows * max_faces, 1, size, seed, max_faces=max_faces
  )
  result = dict(source.batch(np.arange(rows)))
  return result | {"index": np.arange(rows), "padding": np.zeros(rows, bool)}


def deep_poisoning(argument="demo", **model):
  config = deep_poisoning_config.get_config(argument)
  with config.unlocked():
    config.evaluation.witnesses = ()
    config.data.image_size = SIDE
    config.data.attributes = ("Male", "Smiling", "Bangs")
    config.data.num_people = PEOPLE
    config.model.dpm.blocks = config.model.reconstructor.blocks = 1
    config.model.update(model)
    for options in config.phases.values():
      options.update(batch_size=16, optimizer="sgd", learning_rate=1e-2)
      options.steps = 3 if options.steps else 0
  return config


def feature_batch(shape, rows=16, seed=0):
  """A batch of three attributes, with features of others in half its rows.

  Its codes are the keys that an attacker would suppose.
  """
  rng = np.random.default_rng(seed)
  result = batch(rows, seed, attributes=3)
  result["features"] = rng.random((rows, *shape), np.float32).astype(np.float16)
  result["pooled"] = np.arange(rows) % 2 == 1
  result["code"] = rng.normal(size=(rows, 16)).astype(np.float32)
  return result
