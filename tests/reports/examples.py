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
