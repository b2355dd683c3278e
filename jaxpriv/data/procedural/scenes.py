"""ProceduralScenes: pictures of several drawn people, each seen whole.

Each person is drawn in a window of the picture, over those further up, who
stand further back; below the window the body continues unchanged. Heads do not
overlap, so nobody hides a face.
"""

import numpy as np

from jaxpriv.data import records
from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.procedural import rendering, sampling
from jaxpriv.data.procedural.landmarks import locate
from jaxpriv.errors import SettingError

MIN_SIZE, MAX_SIZE = 32, 2048

# Half a head, as a share of the side: at 128 px faces are of 8 to 52 px.
_SCALES = (0.04, 0.24)
# The extent of a head with hair or hat, in half heads: half its width, and
# above and below the middle between the eyes.
_HEAD = (1.15, 1.45, 1.2)
_WINDOW = 4.0  # side of the window, in half heads
_TRIES = 12  # places tried for a face
# Photograph numbers from here on are not used by `ProceduralFaces`.
_FIRST_PHOTOGRAPH = 1_000_000
# Light, film and background belong to the picture, not to each person in it.
_SHARED = tuple(
  name
  for name in tables.PHOTOGRAPH
  if name.startswith(("light_", "cast_", "back_", "noise"))
  or name in ("ambient", "contrast", "blur")
)
_CAMERA = dict(scale=0.36, shift_x=0.0, shift_y=0.0, roll=0.0)


class ProceduralScenes(records.Source):
  """Pictures of drawn people; see `records.scene`.

  People k max_faces to (k + 1) max_faces - 1 are a group; some of them, one at
  least, are together in each of `images_per_identity` pictures, and nobody is
  in pictures of two groups. They are the people of `ProceduralFaces` of the
  same seed and domain, in other photographs.
  """

  default_attributes = ("Male", "Smiling", "Big_Nose", "Eyeglasses")
  attribute_names = tables.ATTRIBUTE_NAMES
  batched = True

  def __init__(
    self,
    num_identities: int = 2000,
    images_per_identity: int = 1,
    image_size: int = 128,
    seed: int = 0,
    domain: str = "human",
    max_faces: int = 4,
  ):
    if max_faces < 1 or images_per_identity < 1:
      raise SettingError(
        "drawn scenes: config.data.max_faces and images_per_identity must be at"
        f" least 1, not {max_faces} and {images_per_identity}"
      )
    if num_identities < max_faces:
      raise SettingError(
        f"config.data.num_identities = {num_identities} is too few for scenes"
        f" of up to config.data.max_faces = {max_faces}"
      )
    if not MIN_SIZE <= image_size <= MAX_SIZE:
      raise SettingError(
        f"drawn scenes: config.data.image_size = {image_size} is not in"
        f" [{MIN_SIZE}, {MAX_SIZE}]"
      )
    domains = sampling.domains(domain)
    self.image_size = image_size
    self.images_per_identity = images_per_identity
    self.max_faces = max_faces
    self.identities = np.repeat(
      np.arange(num_identities // max_faces, dtype=np.int32),
      images_per_identity,
    )
    self._seed = seed
    self._domains = domains

  def __repr__(self) -> str:
    # Grain compares sources by this when it restores an iterator.
    return (
      f"ProceduralScenes(groups={self.identities[-1] + 1},"
      f" images_per_identity={self.images_per_identity},"
      f" image_size={self.image_size}, seed={self._seed},"
      f" domains={self._domains}, max_faces={self.max_faces})"
    )

  def describe(self, index: int) -> str:
    number, photograph = divmod(int(index), self.images_per_identity)
    return f"{self.person(number)}, picture {photograph}"

  def person(self, number: int) -> str:
    first = number * self.max_faces
    return (
      f"procedural {' or '.join(self._domains)} {first} to"
      f" {first + self.max_faces - 1}, seed {self._seed}"
    )

  def __getitem__(self, index: int) -> records.Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"record {index} of a source of {len(self)} records")
    index = int(index) % len(self)
    group, photograph = divmod(index, self.images_per_identity)
    order = np.argsort(self._draw(index, "order", self.max_faces))
    wanted = 1 + int(self._draw(index, "count", 1)[0] * self.max_faces)
    places = self._places(index, wanted)
    people = group * self.max_faces + order[: len(places)]
    shared = self._shared(index)
    faces = [
      self._face(person, photograph, place, shared)
      for person, place in zip(people.tolist(), places)
    ]
    image = rendering.backdrop(shared | _as_factors(_CAMERA), self.image_size)
    image = self._paint(image[0], faces)
    image += rendering.grain(shared, self.image_size)[0]
    pixels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    rows = [self._labels(*face) for face in faces]
    stacked = {name: np.stack([r[name] for r in rows]) for name in rows[0]}
    return records.scene(pixels, stacked, self.max_faces)

  def _draw(self, index: int, name: str, count: int) -> np.ndarray:
    """Uniform numbers [count] of a picture."""
    names = [f"scene {name} {i}" for i in range(count)]
    return sampling.uniform(self._seed, names, np.array([index]))[0]

  def _places(self, index: int, wanted: int) -> np.ndarray:
    """Scale, x and y of up to `wanted` heads, as many as fit."""
    drawn = self._draw(index, "place", wanted * _TRIES * 3)
    side, above, below = _HEAD
    places: list[tuple[float, float, float]] = []
    taken = np.zeros((0, 4))
    low, high = np.log(_SCALES)
    for tries in drawn.reshape(wanted, _TRIES, 3).astype(np.float64):
      for size, across, down in tries:
        scale = float(np.exp(low + (high - low) * size))
        x = scale * side + across * (1 - 2 * scale * side)
        y = scale * above + down * (1 - scale * (above + below))
        reach = np.array([-side, -above, side, below]) * scale
        head = np.array([x, y, x, y]) + reach
        apart = (head[:2] >= taken[:, 2:]) | (head[2:] <= taken[:, :2])
        if apart.any(1).all():
          places.append((scale, x - 0.5, y - 0.5))
          taken = np.vstack([taken, head])
          break
    return np.array(places)

  def _shared(self, index: int) -> sampling.Factors:
    """The shared factors of a picture; the others have neutral values."""
    person = sampling.sample_people(self._seed, np.array([0]))
    factors = person | sampling.sample_photographs(
      self._seed, np.array([0]), np.array([0])
    )
    low, high = np.array([tables.PHOTOGRAPH[name] for name in _SHARED]).T
    names = [f"scene {name}" for name in _SHARED]
    drawn = sampling.uniform(self._seed, names, np.array([index]))[0]
    return factors | _as_factors(dict(zip(_SHARED, low + (high - low) * drawn)))

  def _face(self, person: int, photograph: int, place, shared):
    """(person, domain, factors) of somebody in a picture."""
    domain = self._domains[person % len(self._domains)]
    ids, number = np.array([person]), _FIRST_PHOTOGRAPH + photograph
    drawn = sampling.sample_people(self._seed, ids, domain)
    drawn |= sampling.sample_photographs(
      self._seed, ids, np.array([number]), domain
    )
    drawn |= {name: shared[name] for name in _SHARED}
    drawn |= _as_factors(dict(zip(("scale", "shift_x", "shift_y"), place)))
    return person, domain, drawn

  def _paint(self, picture: np.ndarray, faces) -> np.ndarray:
    """Draws all people over the picture, from top to bottom."""
    size = self.image_size
    depth = [float(factors["shift_y"][0] + factors["scale"][0])
             for _, _, factors in faces]  # fmt: skip
    for i in np.argsort(depth):
      _, domain, factors = faces[i]
      scale = float(factors["scale"][0])
      window = max(8, round(_WINDOW * scale * size))
      centre = [(float(factors[f"shift_{a}"][0]) + 0.5) * size for a in "xy"]
      corner = [round(c - window / 2) for c in centre]
      moved = {
        f"shift_{a}": (c - o) / window - 0.5
        for a, c, o in zip("xy", centre, corner)
      }
      moved["scale"] = scale * size / window
      colours, rest = rendering.cut_out(
        factors | _as_factors(moved), window, domain
      )
      # The last row of the window is repeated to the bottom of the picture.
      below = max(0, size - corner[1] - window)
      colours, rest = (
        np.pad(x[0], ((0, below), (0, 0), (0, 0)), mode="edge")
        for x in (colours, rest)
      )
      x, y = corner
      there = (slice(max(y, 0), size), slice(max(x, 0), min(x + window, size)))
      here = (
        slice(max(-y, 0), size - y),
        slice(max(-x, 0), min(window, size - x)),
      )
      picture[there] = rest[here] * picture[there] + colours[here]
    return picture

  def _labels(self, person: int, domain: str, factors) -> records.Record:
    where = locate(factors, self.image_size, domain)
    attributes = sampling.attributes(factors)[0]
    if domain != "human":
      attributes = np.full_like(attributes, -1)
    pose = [factors[name][0] for name in ("yaw", "pitch", "roll")]
    return dict(
      box=where.box[0],
      landmarks=where.landmarks[0],
      visibility=where.visibility[0],
      pose=np.array(pose, np.float32),
      identity=np.int32(person),
      attributes=attributes,
      domain=np.int32(records.DOMAINS.index(domain)),
    )


def _as_factors(values) -> sampling.Factors:
  return {k: np.array([v], np.float32) for k, v in values.items()}
