"""ProceduralFaces: a record source that draws faces on demand."""

from collections.abc import Sequence

import numpy as np

from jaxpriv.data import records
from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.procedural import sampling
from jaxpriv.data.procedural.framing import aligned as align_params
from jaxpriv.data.procedural.landmarks import locate
from jaxpriv.data.procedural.rendering import MAX_SIZE, MIN_SIZE, render
from jaxpriv.errors import SettingError


class ProceduralFaces(records.Source):
  """Drawn people with known factors; see `jaxpriv.data.records.Source`.

  Record i is photograph `i % images_per_identity` of person
  `i // images_per_identity`, and a function of (seed, person, photograph) only:
  a larger source begins with the records of a smaller one of as many
  photographs a person.

  With `aligned` the five points of a face lie on a template, that of ArcFace
  by "landmarks", as recognisers expect; see `framing`.

  With several domains, as "human,cat", or "all" four, person k is of domain k %
  their number. Attributes of animals are unknown (-1).
  """

  default_attributes = ("Male", "Smiling", "Big_Nose", "Eyeglasses")
  attribute_names = tables.ATTRIBUTE_NAMES
  batched = True

  def __init__(
    self,
    num_identities: int = 2000,
    images_per_identity: int = 10,
    image_size: int = 64,
    seed: int = 0,
    domain: str = "human",
    correlate: sampling.Correlations | None = None,
    aligned: str = "",
  ):
    if num_identities < 1 or images_per_identity < 1:
      raise SettingError(
        "drawn people: config.data.num_identities and images_per_identity must"
        f" be at least 1, not {num_identities} and {images_per_identity}"
      )
    if not MIN_SIZE <= image_size <= MAX_SIZE:
      raise SettingError(
        f"drawn people: config.data.image_size = {image_size} is not in"
        f" [{MIN_SIZE}, {MAX_SIZE}]"
      )
    domains = sampling.domains(domain, correlate)
    self.image_size = image_size
    self.images_per_identity = images_per_identity
    self.identities = np.repeat(
      np.arange(num_identities, dtype=np.int32), images_per_identity
    )
    numbers = np.array([records.DOMAINS.index(d) for d in domains], np.int32)
    self.points = {"domain": numbers[self.identities % len(domains)]}
    self._seed = seed
    self._domains = domains
    self._correlate = dict(correlate or {})
    self._aligned = aligned

  def __repr__(self) -> str:
    # Grain compares sources by this when it restores an iterator.
    return (
      f"ProceduralFaces(num_identities={self.identities[-1] + 1},"
      f" images_per_identity={self.images_per_identity},"
      f" image_size={self.image_size}, seed={self._seed},"
      f" domains={self._domains}, correlate={self._correlate},"
      f" aligned={self._aligned!r})"
    )

  def describe(self, index: int) -> str:
    number, photograph = divmod(int(index), self.images_per_identity)
    return f"{self.person(number)}, photograph {photograph}"

  def person(self, number: int) -> str:
    """Names a person independently of the image size and alignment."""
    domain = self._domains[number % len(self._domains)]
    return f"procedural {domain} {number}, seed {self._seed}"

  def __getitem__(self, index: int) -> records.Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"record {index} of a source of {len(self)} records")
    batch = self.batch([int(index) % len(self)])
    return {name: value[0] for name, value in batch.items()}

  def _getitems(self, indices: Sequence[int]) -> list[records.Record]:
    """Grain calls this to read a whole batch at once."""
    batch = self.batch(indices)
    return [
      {name: value[i] for name, value in batch.items()}
      for i in range(len(indices))
    ]

  def params(self, indices: np.ndarray, domain: str) -> sampling.Factors:
    """The factors of records, for `render(..., domain=domain)`."""
    ids, numbers = np.divmod(np.asarray(indices), self.images_per_identity)
    drawn = (domain, self._correlate)
    params = sampling.sample_people(
      self._seed, ids, *drawn
    ) | sampling.sample_photographs(self._seed, ids, numbers, *drawn)
    if not self._aligned:
      return params
    return align_params(params, domain, self._aligned)

  def batch(self, indices: Sequence[int] | np.ndarray) -> records.Batch:
    """Draws several records at once, which is faster than one by one."""
    indices = np.asarray(indices, np.int64)
    which = indices // self.images_per_identity % len(self._domains)
    out: records.Batch = {}
    for number, domain in enumerate(self._domains):
      rows = np.flatnonzero(which == number)
      if not rows.size:
        continue
      part = self._domain_batch(indices[rows], domain)
      for name, value in part.items():
        if name not in out:
          out[name] = np.empty((len(indices), *value.shape[1:]), value.dtype)
        out[name][rows] = value
    return out

  def _domain_batch(self, indices: np.ndarray, domain: str) -> records.Batch:
    params = self.params(indices, domain)
    size = self.image_size
    images = render(params, size, domain=domain)
    images *= 255.0
    images += 0.5
    where = locate(params, size, domain)
    attributes = sampling.attributes(params)
    if domain != "human":
      attributes = np.full_like(attributes, -1)
    pose = [params[name] for name in ("yaw", "pitch", "roll")]
    return dict(
      image=images.astype(np.uint8),
      identity=self.identities[indices],
      attributes=attributes,
      landmarks=where.landmarks,
      visibility=where.visibility,
      pose=np.stack(pose, -1).astype(np.float32),
      box=where.box,
      domain=np.full(len(indices), records.DOMAINS.index(domain), np.int32),
    )
