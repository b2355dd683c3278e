"""Face replacement: drawn faces of nobody, by a few codes of each photograph.

--config=configs/face_replacement.py:demo    64 px
--config=configs/face_replacement.py:gpu     112 px
--config=configs/face_replacement.py:paper   224 px

Nothing is trained: "train" writes down who is in which split.
"""

from ml_collections import ConfigDict

from configs import common

OPTIONS: tuple[str, ...] = ()


def get_config(argument: str = "demo") -> ConfigDict:
  scale, _ = common.parse(argument, OPTIONS)
  config = common.base("face_replacement")
  config.data.image_size = dict(demo=64, gpu=112, paper=224)[scale]
  # Drawn people are only there to be attacked: nothing learns from them.
  config.data.update(num_identities=300, images_per_identity=4)
  if scale == "paper":
    config.data.update(source="folder", cache=False)
  config.data.attributes = ()
  config.data.align = "head"  # hair and ears are not to tell who it is
  config.model = dict(
    # Levels of the pose; 1 looks straight ahead.
    yaw=3,
    pitch=1,
    # Edges of the individual typology angle in degrees: light skin above the
    # first, dark skin below the last. () is any skin, whatever the person's.
    skin=(41.0, 10.0),
    attributes=(),  # of config.data.attributes, to be shown as they are
    secret=0,  # draws the faces; 0 is everybody's
  )
  config.attacks.codes = dict(type="codes", controls=())
  config.attacks.whole_photographs = common.whole_photographs()
  config.phases.replacement = common.phase(0, 64)
  return config
