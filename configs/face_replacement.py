"""Face replacement: faces of nobody, by a few codes of each photograph.

--config=configs/face_replacement.py:demo    64 px
--config=configs/face_replacement.py:gpu     112 px
--config=configs/face_replacement.py:paper   224 px

Faces are drawn, and nothing is trained: "train" writes down who is in which
split.

| option | what |
|---|---|
| learned | faces of a generator, trained first as in face_source.py |
| given | those of a folder: --config.model.folder=FOLDER |
"""

from ml_collections import ConfigDict

from configs import common, face_source

OPTIONS = ("learned", "given")


def get_config(argument: str = "demo") -> ConfigDict:
  scale, options = common.parse(argument, OPTIONS)
  config = common.base("face_replacement")
  config.data.image_size = dict(demo=64, gpu=112, paper=224)[scale]
  # Drawn people are there to be attacked: no drawn face learns from them.
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
    # A mouth that is wider, in distances of the eyes, smiles; 0: no code says.
    smile=0.0,
    attributes=(),  # of config.data.attributes, to be shown as they are
    secret=0,  # draws the faces; 0 is everybody's
    faces="drawn",
  )
  config.attacks.codes = dict(type="codes", controls=())
  config.attacks.whole_photographs = common.whole_photographs()
  config.phases.replacement = common.phase(0, 64)
  if "learned" in options:
    source = face_source.get_config(scale)
    config.data = source.data
    config.data.align = "head"
    config.dtype = source.dtype
    config.model.update(source.model, faces="learned")
    config.phases.source = source.phases.source
  if "given" in options:
    # A folder of more faces is refused.
    config.model.update(faces="given", folder="", most=1000)
    config.phases.given = common.reading(scale)
  return config
