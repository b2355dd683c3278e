"""Procedural faces: drawn people, animals and their photographs.

`ProceduralFaces` is the record source, of one face a picture, and
`ProceduralScenes` of several. Underneath, `sample_people` and
`sample_photographs` draw factors and `render` turns them into images.
"""

from jaxpriv.data.procedural.factors import ATTRIBUTE_NAMES, SKIN_TONE_NAMES
from jaxpriv.data.procedural.landmarks import locate
from jaxpriv.data.procedural.rendering import render
from jaxpriv.data.procedural.sampling import sample_people, sample_photographs
from jaxpriv.data.procedural.scenes import ProceduralScenes
from jaxpriv.data.procedural.source import ProceduralFaces

__all__ = (
  "ATTRIBUTE_NAMES",
  "ProceduralFaces",
  "ProceduralScenes",
  "SKIN_TONE_NAMES",
  "locate",
  "render",
  "sample_people",
  "sample_photographs",
)
