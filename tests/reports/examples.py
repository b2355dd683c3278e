"""Made-up results for the tests of the reports; no figure is a measurement."""

import math

MECHANISM = "embedded_autoencoder"
PEN, FRESH = "IResNet", "VGG"


def wilson(hits, total, z=1.959964):
  """Wilson's score interval from its defining quadratic, by its two roots."""
  rate = hits / total
  a, b, c = 1 + z * z / total, -(2 * rate + z * z / total), rate * rate
  root = math.sqrt(b * b - 4 * a * c)
  low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
  return min(max(low, 0.0), rate), max(min(high, 1.0), rate)


def rate(hits, total):
  low, high = wilson(hits, total)
  return {
    "hits": hits,
    "total": total,
    "rate": hits / total,
    "low": low,
    "high": high,
  }


def attack(kind, hits, total=1000, **changes):
  row = {
    "mechanism": MECHANISM,
    "attack": kind,
    "gallery": "other photograph",
    "recogniser": FRESH,
    "used_in_loss": False,
    "chance": 0.005,
    **rate(hits, total),
  }
  return {**row, **changes}


def attribute(hits, total=1000, **changes):
  row = {
    "mechanism": MECHANISM,
    "attribute": "Big_Nose",
    "predictor": "fresh VGG",
    "majority": 0.6,
    "original": 0.9,
    **rate(hits, total),
  }
  return {**row, **changes}


def results():
  """Returns one mechanism that protects and one that does not."""
  return {
    "mechanism": MECHANISM,
    "created": "2026-03-02T10:05:00+00:00",
    "parameters_sha256": "ab" * 32,
    "config": {"seed": 3, "pen": {"margin": 0.5, "stages": [1, 2]}},
    "environment": {"python": "3.11", "devices": "8 cpu"},
    "data": {
      "source": "procedural",
      "people": {"train": 800, "attack": 200, "test": 200},
      "images": {"test": 1000},
      "unreadable": ["a <b>bad</b> & broken.jpg"],
    },
    "names": {"blur": "Gaussian blur"},
    "identification": [
      attack("undisguised", 871),
      attack("naive", 6),
      attack("parrot", 4),
      attack("naive", 498, mechanism="blur"),
      attack("undisguised", 942, recogniser=PEN, used_in_loss=True),
      attack("naive", 5, recogniser=PEN, used_in_loss=True),
    ],
    "attributes": [
      attribute(893),
      attribute(941, attribute="Male", original=0.95),
      attribute(702, mechanism="blur"),
    ],
    "outputs": [
      {"mechanism": MECHANISM, "distinct": 733, "total": 1000, "tolerance": 1},
      {"mechanism": "blur", "distinct": 1000, "total": 1000, "tolerance": 1},
    ],
    "similarity": [{"mechanism": MECHANISM, "ssim": 0.2171, "psnr": 11.46}],
    "timing": {"train_seconds": 321.5},
  }


POISONING = "deep_poisoning"


def rebuilt(kind, ssim, pairs=None, hits=None, **changes):
  """A row of reconstruction; `hits` of 1000 by the recogniser, or None."""
  row = {
    "mechanism": POISONING,
    "attack": kind,
    "knowledge": "Other people's photographs & <public> networks.",
    "pairs": pairs,
    "l1": 0.1234,
    "psnr": 14.56,
    "ssim": ssim,
    "ssim_low": ssim - 0.012,
    "ssim_high": ssim + 0.012,
    "abs_ssim": abs(ssim),
    "aligned_ssim": ssim + 0.004,
    "total": 1000,
    "hits": None,
    "identified_of": None,
    "rate": None,
    "low": None,
    "high": None,
    "chance": None,
    "undisguised": None,
    "attributes": None,
  }
  if hits is not None:
    counted = rate(hits, 1000)
    row |= counted | {"identified_of": counted.pop("total")}
    row |= {"total": 1000, "chance": 0.005, "undisguised": 0.871}
  return {**row, **changes}


def read(balanced, hits=4107, **changes):
  """How well a predictor reads attributes in what was rebuilt."""
  row = {
    "what": "hidden",
    "balanced": balanced,
    "low": balanced - 0.012,
    "high": balanced + 0.012,
    "undisguised": 0.931,
    "hits": hits,
    "total": 6000,
    "rate": hits / 6000,
    "majority": 0.702,
  }
  return {**row, **changes}


def leak(kind, what, hits, chance=0.005, original=0.9, **changes):
  row = {
    "mechanism": POISONING,
    "attack": kind,
    "what": what,
    "chance": chance,
    "original": original,
    **rate(hits, 1000),
  }
  return {**row, **changes}


def curve(points, needed, **changes):
  """A row of curves; `points` are pairs and SSIM."""
  row = {
    "mechanism": POISONING,
    "threshold_ssim": 0.4,
    "pairs_needed": needed,
    "largest": 16384,
    "points": [[n, ssim, ssim - 0.03, ssim + 0.03] for n, ssim in points],
    "clean": 0.85,
    "mean": 0.2,
  }
  return {**row, **changes}


def precision(reader, what, value, mechanism=POISONING):
  return {
    "mechanism": mechanism,
    "reader": reader,
    "what": what,
    "count": 6,
    "value": value,
    "low": value - 0.021,
    "high": value + 0.021,
    "original": 0.934,
    "constant": 0.482,
  }


def bounds():
  return [
    rebuilt("clean features", 0.85, hits=702, attributes=read(0.894)),
    rebuilt("mean image", 0.2, attributes=read(0.5, low=0.5, high=0.5)),
    rebuilt("another photograph", 0.14, hits=4),
  ]


def feature_results():
  """Returns features that known pairs give away, and two other mechanisms."""
  return {
    "mechanism": POISONING,
    "created": "2026-03-02T10:05:00+00:00",
    "parameters_sha256": "ab" * 32,
    "config": {"seed": 3, "layer": "conv4_1"},
    "data": {
      "source": "procedural",
      "people": {"train": 800, "attack": 200, "test": 200},
    },
    "names": {"noise": "Gaussian noise", "identity": "Identity"},
    "reconstruction": [
      *bounds(),
      rebuilt(
        *("A0 the inverter of the loss", 0.0071),
        hits=5,
        abs_ssim=0.04,
        attributes=read(0.505),
      ),
      rebuilt("A1 known pairs", 0.31, pairs=256),
      rebuilt(
        *("A1 known pairs", 0.71, 1024, 312),
        attributes=read(0.822, 5107),
      ),
      rebuilt("A3 transfer", 0.205, hits=6),
      rebuilt("A0 the inverter of the loss", 0.7, hits=402, mechanism="noise"),
      rebuilt("A1 known pairs", 0.19, pairs=16384, mechanism="keyed"),
    ],
    "leakage": [
      leak("A7 linear probe", "identity", 121, original=0.71),
      leak("A7 MLP probe", "Male", 655, 0.65, 0.96),
      leak("A7 MLP probe", "Big_Nose", 890, 0.6, None),
      leak("A8 same photograph twice", "link", 1000, original=None),
      leak("A7 linear probe", "identity", 5, mechanism="keyed"),
    ],
    "precision": [
      precision("decider", "kept", 0.912),
      precision("A7 MLP probe", "hidden", 0.861),
      precision("decider", "kept", 0.507, mechanism="noise"),
    ],
    "curves": [
      curve(
        [[16, 0.19], [64, 0.22], [256, 0.31], [1024, 0.71], [16384, 0.8]], 1024
      ),
      curve([[16, 0.18], [256, 0.185], [16384, 0.19]], None, mechanism="keyed"),
    ],
    "attributes": [
      attribute(893, mechanism=POISONING, predictor="decider"),
      attribute(
        941,
        mechanism=POISONING,
        attribute="Smiling",
        predictor="decider",
        original=0.95,
      ),
      attribute(702, mechanism="noise", predictor="decider"),
    ],
    "timing": {"train_seconds": 321.5},
  }
