import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxpriv import platforms
from jaxpriv.metrics import image


def pictures(seed, *shape):
  rng = np.random.default_rng(seed)
  x = rng.random(shape)
  for axis in (-3, -2):
    x = correlate1d(x, np.ones(5) / 5, axis)
  return x.astype(np.float32)


def noisy(x, amount, seed=9):
  noise = np.random.default_rng(seed).normal(size=x.shape)
  return np.clip(x + amount * noise, 0, 1).astype(np.float32)


def ssim_in_float64(a, b):
  window = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
  window /= window.sum()

  def mean(x):
    for axis in (0, 1):
      x = correlate1d(x, window, axis)
    return x[5:-5, 5:-5]

  a, b = np.float64(a), np.float64(b)
  p, q = mean(a), mean(b)
  s, t, c = mean(a * a) - p**2, mean(b * b) - q**2, mean(a * b) - p * q
  score = (2 * p * q + 1e-4) * (2 * c + 9e-4)
  return (score / ((p**2 + q**2 + 1e-4) * (s + t + 9e-4))).mean()


@pytest.fixture(params=["products", "shifts"])
def ssim(request, monkeypatch):
  """SSIM by each of its routes, of a CPU and of other devices."""
  monkeypatch.setattr(platforms, "on_cpu", lambda: request.param == "products")
  return image.ssim.__wrapped__  # not what was compiled of the other route


def test_ssim_equals_dm_pix_and_scikit_image(ssim):
  a = pictures(0, 2, 3, 32, 40, 3)
  b = noisy(a, 0.1)
  got = ssim(a, b)
  assert got.shape == (2, 3)
  exact = [ssim_in_float64(*pair) for pair in zip(a[1], b[1])]
  np.testing.assert_allclose(got[1], exact, atol=5e-7)
  # The peer's own rounding error is larger.
  np.testing.assert_allclose(dm_pix.ssim(a[1], b[1]), exact, atol=2e-6)
  expected = structural_similarity(
    a[1, 2].astype(float),
    b[1, 2].astype(float),
    data_range=1,
    channel_axis=-1,
    gaussian_weights=True,
    use_sample_covariance=False,
  )
  # scikit-image crops the border by the same 5 pixels.
  assert float(got[1, 2]) == pytest.approx(expected, abs=2e-4)
  assert ssim(a[0, 0], b[0, 0]).shape == ()


def test_an_area_is_compared_by_itself():
  """Against the map of a peer, whose window stays within the image."""
  a, b = pictures(3, 2, 24, 30, 3), noisy(pictures(3, 2, 24, 30, 3), 0.2)
  area = np.zeros((2, 24, 30), bool)
  area[0, 8:14, 0:9] = True
  area[1, :4] = True  # too near to the edge for a window around it
  got = image.ssim(a, b, area=area)
  full = np.asarray(dm_pix.ssim(a[0], b[0], return_map=True))
  expected = full[3:9, 0:4].mean()  # from row and column 5 on
  assert float(got[0]) == pytest.approx(float(expected), abs=1e-5)
  assert np.isnan(got[1])
  squares = np.square(a - b)
  got = image.psnr(a, b, area=area)
  expected = [-10 * np.log10(squares[i][area[i]].mean()) for i in range(2)]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  assert np.isnan(image.psnr(a, b, area=area & False)).all()
  everywhere = np.ones_like(area)
  for fn in (image.ssim, image.psnr):
    np.testing.assert_allclose(fn(a, b, area=everywhere), fn(a, b), rtol=1e-6)


def test_likeness_of_what_is_hidden_is_told_apart():
  bytes_ = lambda x: np.round(x * 255).astype(np.uint8)
  a = bytes_(pictures(4, 6, 24, 24, 3))
  hidden = np.zeros((6, 24, 24), bool)
  hidden[:, :12] = True
  b = np.where(hidden[..., None], 128, a).astype(np.uint8)
  rows = image.likeness(a, b, np.arange(6), hidden)
  assert rows["hidden SSIM"].value < rows["SSIM"].value
  assert rows["hidden PSNR"].value == pytest.approx(
    rows["PSNR"].value - 10 * np.log10(2), abs=1e-4
  )
  nothing = image.likeness(a, b, np.arange(6), hidden & False)
  assert nothing.keys() == image.likeness(a, b, np.arange(6)).keys()


def test_range():
  a = pictures(1, 32, 32, 1)
  b = noisy(a, 0.05)
  for fn in (image.ssim, image.psnr, image.ms_ssim):
    assert float(fn(255 * a, 255 * b, max_val=255.0)) == pytest.approx(
      float(fn(a, b)), rel=1e-3
    )


def test_the_negative_trap():
  x = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
  assert float(image.ssim(x, 1 - x)) < -0.9
  assert float(image.ms_ssim(x, 1 - x)) == 0


def test_psnr():
  a = pictures(2, 4, 24, 24, 3)
  b = noisy(a, 0.1)
  expected = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(a, b)]
  np.testing.assert_allclose(image.psnr(a, b), expected, rtol=1e-5)
  assert np.isinf(image.psnr(a, a)).all()


def reference_ms_ssim(a, b, weights):
  """Equation (7) of the paper per channel, in float64."""
  taps = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
  taps /= taps.sum()

  def blur(x):
    x = correlate1d(correlate1d(x, taps, 0), taps, 1)
    return x[5:-5, 5:-5]

  a, b = a.astype(np.float64), b.astype(np.float64)
  product = 1.0
  for i, weight in enumerate(weights):
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    value = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
    if i == len(weights) - 1:
      luminance = 2 * mean_a * mean_b + 0.01**2
      value = value * luminance / (mean_a**2 + mean_b**2 + 0.01**2)
    product = product * np.maximum(value.mean((0, 1)), 0) ** weight
    h, w = a.shape[0] // 2 * 2, a.shape[1] // 2 * 2
    a, b = (
      x[:h, :w].reshape(h // 2, 2, w // 2, 2, -1).mean((1, 3)) for x in (a, b)
    )
  return product.mean()


@pytest.mark.parametrize(
  "side, scales", [(180, 5), (112, 4), (65, 3), (64, 2), (11, 1)]
)
def test_ms_ssim_equals_the_paper(side, scales):
  a = pictures(3, side, side, 3)
  # Darker, too: luminance counts, but only at the coarsest scale.
  b = 0.6 * noisy(a, 0.15)
  weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
  weights /= weights.sum()
  chosen = scales if side == 64 else None
  got = float(image.ms_ssim(a, b, scales=chosen))
  assert got == pytest.approx(reference_ms_ssim(a, b, weights), abs=2e-4)
  assert 0.05 < got < 0.999


def test_other_devices_multiply_no_matrices(monkeypatch):
  """Products are rounded there, or tiled in ways that want tuning."""
  a = pictures(6, 2, 24, 28, 3)

  def fn(x, y):
    return image.ssim.__wrapped__(x, y).sum()

  program = lambda: str(jax.make_jaxpr(jax.grad(fn))(a, 1 - a))
  slopes = jax.grad(fn)(a, 1 - a)
  assert "dot_general" in program()
  monkeypatch.setattr(platforms, "on_cpu", lambda: False)
  shifts = program()
  assert "dot_general" not in shifts and "conv_general" not in shifts
  np.testing.assert_allclose(jax.grad(fn)(a, 1 - a), slopes, atol=1e-6)


def test_gradients_are_finite():
  a = jnp.asarray(pictures(4, 2, 32, 32, 3))
  for fn in (image.ssim, image.ms_ssim):
    grad = jax.grad(lambda x, fn=fn: fn(x, 1 - a).sum())
    assert np.isfinite(grad(a)).all()
    assert np.isfinite(grad(a * 0 + 0.5)).all()


def test_rejects():
  a = pictures(5, 16, 16, 3)
  with pytest.raises(ValueError, match="floats"):
    image.ssim((a * 255).astype(np.uint8), (a * 255).astype(np.uint8))
  with pytest.raises(ValueError, match="10 x 16"):
    image.ssim(a[:10], a[:10])
  with pytest.raises(ValueError, match="scale 2 of 2"):
    image.ms_ssim(a, a, scales=2)
  with pytest.raises(ValueError, match="shapes"):
    image.psnr(a, a[:8])


def test_distinct_is_exact_after_rounding():
  base = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3))
  base = base.astype(np.uint8)
  images = base[[0, 1, 0, 2, 1, 3, 3, 4]]
  assert image.distinct_outputs(images) == 5
  jitter = 0.001 * (-1.0) ** np.arange(8)[:, None, None, None]
  assert image.distinct_outputs(images / 255 + jitter) == 5
  changed = images.copy()
  changed[2, 5, 5, 1] ^= 1
  assert image.distinct_outputs(changed) == 6
  assert image.distinct_outputs(images[:0]) == 0
  with pytest.raises(ValueError, match="finite"):
    image.distinct_outputs(np.full((2, 4, 4, 3), np.nan))


@pytest.mark.parametrize("max_val", [1.0, 255.0, 1e4])
def test_psnr_of_equal_images_is_infinite_at_any_range(max_val):
  x = max_val * jax.random.uniform(jax.random.key(0), (4, 33, 31, 3))
  assert np.isinf(image.psnr(x, x, max_val)).all()
  near = x + 1e-6 * max_val * jax.random.normal(jax.random.key(1), x.shape)
  exact = np.asarray(x, np.float64) - np.asarray(near, np.float64)
  expected = -10 * np.log10(np.mean((exact / max_val) ** 2, (1, 2, 3)))
  np.testing.assert_allclose(image.psnr(x, near, max_val), expected, rtol=1e-5)


def test_ms_ssim_of_nan_is_nan():
  x = jax.random.uniform(jax.random.key(0), (3, 64, 64, 3))
  result = image.ms_ssim(x.at[1, 0, 0, 0].set(jnp.nan), x)
  np.testing.assert_array_equal(np.isnan(result), [False, True, False])


def test_pairs_needed():
  points = [(16, 0.1), (64, 0.3), (256, 0.5)]
  assert image.pairs_needed(points, 0.4) == 128  # half way, in logarithms
  assert image.pairs_needed(points, 0.3) == 64
  assert image.pairs_needed(points, 0.1) == 16
  assert image.pairs_needed(points, 0.6) is None


def bytes_of_pictures(count=6, side=24):
  x = pictures(0, count, side, side, 3)
  return np.round((x - x.min()) / np.ptp(x) * 255).astype(np.uint8)


def test_likeness_of_a_photograph_with_itself_and_of_its_negative():
  images = bytes_of_pictures()
  same = images.astype(np.float32) / 255
  people = np.arange(6) // 2
  row = image.likeness(images, same, people)
  assert row["L1"].value == 0 and row["L1"].total == 6
  assert "PSNR" not in row  # which is infinite
  assert row["SSIM"].value == pytest.approx(1, abs=1e-5)
  row = image.likeness(images, 1 - same, people)
  assert row["SSIM"].value < -0.5
  assert row["|SSIM|"].value > 0.5
  assert row["aligned SSIM"].value == pytest.approx(1, abs=1e-3)
  assert row["SSIM"].low <= row["SSIM"].value <= row["SSIM"].high


def test_likeness_is_of_each_image_and_its_intervals_of_people():
  images = bytes_of_pictures(40)
  rng = np.random.default_rng(1)
  noisy = np.clip(images / 255 + 0.2 * rng.normal(size=images.shape), 0, 1)
  noisy = noisy.astype(np.float32)
  row = image.likeness(images, noisy, np.arange(40))
  each = image.ssim(images.astype(np.float32) / 255, noisy)
  np.testing.assert_allclose(row["SSIM"].value, np.mean(each), rtol=1e-5)
  fewer = image.likeness(images, noisy, np.arange(40) // 20)
  width = lambda row: row["SSIM"].high - row["SSIM"].low
  assert width(row) > 0 and width(fewer) != pytest.approx(width(row))
