"""Flux scales of data sets that are imaged together, on simulated mosaics of two arrays and a single-dish map."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
from scipy.constants import arcsecond
from scipy.linalg import cho_factor, cho_solve

from casa_ml_tasks.calibration.flux_scale import SetOfVisibilities, overlap, span
from casa_ml_tasks.calibration.map_modes import modes_of_map
from casa_ml_tasks.calibration.uv_bins import uv_bins
from casa_ml_tasks.kernels.dish_beam import GaussianBeam
from tests.flux_scales import fit_flux_scales

WAVELENGTH = 1.3e-3  # m
SIZE, CELL = 24, 4 * arcsecond
NAMES = ("12m.ms", "7m.ms", "tp.image")
SIGMA = np.array([0.1, 0.1, 0.006])  # Jy
OFFSETS = CELL * (np.mgrid[:SIZE, :SIZE].reshape(2, -1) - SIZE // 2)  # m and -l


def beam(diameter, centre):
    width = 1.13 * WAVELENGTH / diameter
    distance = OFFSETS[0] - centre[0], -OFFSETS[1] - centre[1]
    return np.exp(-4 * np.log(2) * (distance[0] ** 2 + distance[1] ** 2) / width**2)


def waves(v, u):
    return np.exp(-2j * np.pi * (np.outer(v, OFFSETS[0]) - np.outer(u, OFFSETS[1])))


def mosaic(rng, diameter, count, shortest, longest):
    """Seven pointings: F, (visibility, pixel), and the uv distances."""
    step = WAVELENGTH / diameter / np.sqrt(3)
    centres = [(0, 0), *((step * np.cos(a), step * np.sin(a)) for a in np.pi / 3 * np.arange(6))]
    length = np.exp(rng.uniform(np.log(shortest), np.log(longest), (7, count))) / WAVELENGTH
    angle = rng.uniform(0, np.pi, length.shape)
    rows = [
        waves(q * np.sin(a), q * np.cos(a)) * beam(diameter, centre)
        for q, a, centre in zip(length, angle, centres, strict=True)
    ]
    return np.concatenate(rows), length.ravel()


def map_modes():
    """The Fourier modes of a map as large as the image, of a dish whose beam is 26.7 arcsec wide."""
    v, u = np.meshgrid(*[np.fft.fftfreq(SIZE, CELL)] * 2, indexing="ij")
    length = np.hypot(v, u)
    kept = (length < 11 / WAVELENGTH) & ((v > 0) | ((v == 0) & (u >= 0)))
    taper = np.exp(-((np.pi * 26.7 * arcsecond * length[kept]) ** 2) / (4 * np.log(2)))
    return waves(v[kept], u[kept]) * taper[:, None], length[kept]


def log_normal_sky(rng):
    k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(SIZE)] * 2))
    k[0, 0] = 0.5 / SIZE
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=k.shape)) * k**-1.5).real.ravel()
    envelope = np.cos(np.pi / 2 * np.clip(np.hypot(*OFFSETS) / (CELL * SIZE / 4) - 1, 0, 1)) ** 2
    sky = np.exp((field - field.mean()) / field.std()) * envelope
    return 40 * sky / sky.sum()


@dataclass(frozen=True)
class Observatory:
    """Three data sets of one sky, and the most probable sky given them."""

    operators: list
    lengths: list
    prior: np.ndarray  # inverse covariance of the sky
    sigma: np.ndarray = field(default_factory=lambda: SIGMA)  # Jy, of each set

    @classmethod
    def simulated(cls):
        rng = np.random.default_rng(3)
        parts = [mosaic(rng, 12, 120, 15, 45), mosaic(rng, 7, 50, 9, 30), map_modes()]
        power = np.mean([np.abs(np.fft.fft2(log_normal_sky(rng).reshape(SIZE, SIZE))) ** 2 for _ in range(50)], axis=0)
        row = np.fft.ifft2(SIZE**2 / power).real
        y, x = np.mgrid[:SIZE, :SIZE].reshape(2, -1)
        return cls(*map(list, zip(*parts, strict=True)), row[np.subtract.outer(y, y), np.subtract.outer(x, x)])

    @cached_property
    def normal(self):
        return [(f.conj().T @ f).real / s**2 for f, s in zip(self.operators, self.sigma, strict=True)]

    @cached_property
    def solver(self):
        return cho_factor(sum(self.normal) + self.prior)

    def data_term(self, data):
        return [(f.conj().T @ d).real / s**2 for f, d, s in zip(self.operators, data, self.sigma, strict=True)]

    def observed(self, rng, factors):
        sky = log_normal_sky(rng)
        return [
            g * (f @ sky) + s * (rng.normal(size=len(f)) + 1j * rng.normal(size=len(f)))
            for g, f, s in zip(factors, self.operators, self.sigma, strict=True)
        ]

    def sets(self, data, respond=True):
        image = cho_solve(self.solver, sum(self.data_term(data)))
        changes = cho_solve(self.solver, np.stack([normal @ image for normal in self.normal], axis=1))
        return [
            SetOfVisibilities(name, q, d, f @ image, np.full(q.size, s**-2), (f @ changes).T if respond else None)
            for name, q, d, f, s in zip(NAMES, self.lengths, data, self.operators, self.sigma, strict=True)
        ]


@pytest.fixture(scope="module")
def observatory():
    return Observatory.simulated()


@pytest.fixture(scope="module")
def sensitive(observatory):
    """With errors of the factors of half a per cent."""
    return replace(observatory, sigma=SIGMA / 5)


def pulls(observatory, factors, seeds):
    rows = []
    for seed in range(seeds):
        found = fit_flux_scales(observatory.sets(observatory.observed(np.random.default_rng(seed), factors)))
        rows.append([(each.factor - g) / each.error for each, g in zip(found.scales[1:], factors[1:], strict=True)])
    return np.array(rows)


@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 1.02, 1), (1, 1, 0.97)])
def test_the_factors_are_unbiased_and_their_errors_true(observatory, factors):
    found = pulls(observatory, factors, 40)
    print(found.mean(axis=0), found.std(axis=0))
    assert np.all(np.abs(found.mean(axis=0)) < 0.5)
    assert np.all((found.std(axis=0) > 0.75) & (found.std(axis=0) < 1.3))


def test_large_errors_are_found_in_one_fit_to_a_tenth_of_their_size(sensitive):
    truth = (1, 1.1, 0.95)
    found = [fit_flux_scales(sensitive.sets(sensitive.observed(np.random.default_rng(s), truth))) for s in range(8)]
    mean = np.mean([each.factors for each in found], axis=0)
    print(mean, found[0].scales)
    assert np.all(np.abs(mean[1:] - truth[1:]) < 0.01)
    sentence = found[0].warnings()[0]
    print(sentence)
    assert "7m.ms" in sentence
    assert "12m.ms" in sentence
    assert "fluxscale='fit'" in sentence


def imaged_until_settled(observatory, data, respond, most=20):
    """The factors after rounds of an image and of a fit, and the number of rounds."""
    factors = np.ones(len(data))
    for count in range(1, most + 1):
        instrument = replace(observatory, sigma=observatory.sigma / factors)
        found = fit_flux_scales(instrument.sets([d / g for d, g in zip(data, factors, strict=True)], respond))
        total = found.after(factors)
        if found.settled():
            return total, count
        factors = total.factors
    return total, most


@pytest.mark.parametrize(("respond", "most"), [(True, 3), (False, 10)])
def test_images_and_factors_in_turn_converge_to_the_truth(sensitive, respond, most):
    truth = (1, 1.1, 1.05)
    rows = []
    for seed in range(6):
        data = sensitive.observed(np.random.default_rng(seed), truth)
        found, rounds = imaged_until_settled(sensitive, data, respond)
        assert rounds <= most
        rows.append(found.factors)
    errors = np.array([each.error for each in found.scales])
    print(np.mean(rows, axis=0), np.std(rows, axis=0), errors, rounds)
    assert np.all(np.abs(np.mean(rows, axis=0) - truth)[1:] < 1.5 * errors[1:])


def test_without_the_response_one_fit_is_nearer_to_agreement(sensitive):
    data = sensitive.observed(np.random.default_rng(1), (1, 1.1, 1))
    known, unknown = (fit_flux_scales(sensitive.sets(data, respond)).scales[1] for respond in (True, False))
    assert 1.03 < unknown.factor < 1.09 < known.factor
    assert unknown.error < known.error


def point_sets(**changed):
    """Two sets of a point of 1 Jy that share 20 to 40 kλ, the second with 5 % more flux, without noise."""
    lengths = np.linspace(2e4, 8e4, 400), np.linspace(1e4, 4e4, 300)
    weights = np.full(400, 100.0), np.full(300, 25.0)
    both = zip(NAMES, lengths, (1, 1.05), weights, strict=False)
    return [
        replace(SetOfVisibilities(name, q, g * np.ones(q.size, complex), np.ones(q.size, complex), w), **changed)
        for name, q, g, w in both
    ]


def test_the_error_is_that_of_a_ratio_of_two_measured_amplitudes():
    first, second = point_sets()
    scales = fit_flux_scales([first, second])
    assert overlap([span(first), span(second)]) == (2e4, 4e4)
    powers = [each.weight[0] * np.sum((each.uvdist >= 2e4) & (each.uvdist <= 4e4)) for each in (first, second)]
    assert scales.scales[1].factor == pytest.approx(1.05)
    # d ln(b / a) of b = 1.05 and a = 1
    expected = 1.05 * np.sqrt(1 / powers[0] + 1 / (1.05**2 * powers[1]))
    assert scales.scales[1].error == pytest.approx(expected, rel=1e-2)
    assert fit_flux_scales([first, second], reference=1).scales[0].factor == pytest.approx(1 / 1.05)


def test_a_set_without_common_uv_range_is_not_compared():
    first, second = point_sets()
    scales = fit_flux_scales([first, replace(second, uvdist=second.uvdist / 10)])
    assert scales.factors.tolist() == [1, 1]
    assert np.isinf(scales.scales[1].error)
    assert "in common" in scales.warnings()[0]
    assert overlap([span(first)]) is None
    assert fit_flux_scales([first]).warnings() == []


def test_agreeing_sets_give_no_warning():
    first, second = point_sets()
    assert fit_flux_scales([first, replace(second, data=second.model)]).warnings() == []


def test_scatter_between_annuli_that_noise_does_not_explain_enlarges_the_error():
    first, second = point_sets()
    wavy = replace(second, data=second.data * (1 + 0.5 * np.sin(second.uvdist / 1e3)))
    quiet, loud = (fit_flux_scales([first, each]).scales[1].error for each in (second, wavy))
    assert loud > 1.5 * quiet


@pytest.mark.parametrize("shape", [(48, 50), (51, 45)])
def test_the_modes_of_a_map_have_the_noise_that_their_weights_claim(shape):
    rng = np.random.default_rng(8)
    beam, step, sigma = GaussianBeam(36.0, 30.0, 0.3), (6.0, -5.0), 0.02
    v, u = (np.fft.fftfreq(n, abs(s)) for n, s in zip(2 * np.array(shape), step, strict=True))
    taper = np.sqrt(np.abs(beam.transform(v, u)))
    taper *= sigma / np.sqrt(np.mean(taper**2))
    y, x = np.mgrid[: shape[0], : shape[1]] - np.array(shape)[:, None, None] / 2
    model = np.exp(-0.5 * ((y / 7) ** 2 + (x / 9) ** 2))
    rows = []
    for _ in range(200):
        white = np.fft.fft2(rng.normal(size=2 * np.array(shape)))
        noise = np.fft.ifft2(taper * white).real[: shape[0], : shape[1]]
        modes = modes_of_map("tp.image", 1.1 * model + noise, model, sigma, beam, step, 1e-6)
        weight = modes.independent * modes.weight
        power = np.sum(weight * np.abs(modes.model) ** 2)
        aligned = np.sum(weight * ((modes.data - 1.1 * modes.model) * modes.model.conj()).real)
        faint = modes.uvdist > np.median(modes.uvdist)
        residual = np.abs(modes.data - 1.1 * modes.model)[faint] ** 2
        rows.append((aligned / np.sqrt(power), np.mean(modes.weight[faint] * residual) / 2))
    pull, chi2 = np.array(rows).T
    print(pull.mean(), pull.std(), chi2.mean())
    assert abs(pull.mean()) < 0.25
    assert 0.8 < pull.std() < 1.2
    assert chi2.mean() == pytest.approx(1, abs=0.05)


def test_the_modes_of_a_map_are_the_visibilities_of_its_sky():
    beam, step, cell = GaussianBeam(24.0, 24.0), (4.0, -4.0), 2e-6
    size, place = 64, (33.0, 30.0)
    y, x = np.mgrid[:size, :size]
    distance = 4.0 * np.hypot(y - place[0], x - place[1])
    point = 3.0 * np.exp(-4 * np.log(2) * (distance / 24) ** 2)
    modes = modes_of_map("tp.image", point, point, 0.01, beam, step, cell)
    assert np.allclose(np.abs(modes.data), 3.0, rtol=5e-3)
    assert modes.uvdist.min() == 0
    assert np.sort(modes.uvdist)[1] == pytest.approx(1 / (size * 4 * cell))


def test_amplitude_and_power_in_bins_are_free_of_the_bias_of_noise():
    rng = np.random.default_rng(4)
    length = 10 ** rng.uniform(3, 5, 20_000)
    model = 0.1 * np.exp(2j * np.pi * rng.uniform(size=length.size))
    noise = rng.normal(size=length.size) + 1j * rng.normal(size=length.size)
    bins = uv_bins(SetOfVisibilities("12m.ms", length, 1.2 * model + noise, model, np.ones(length.size)))
    assert np.all(np.diff(bins.uvdist) > 0)
    amplitude = (bins.data_amplitude - 0.12) / bins.amplitude_error
    power = (bins.data_power - 0.12**2) / bins.power_error
    print(amplitude, power)
    for pull in (amplitude, power):
        assert np.sum(pull**2) < 2 * pull.size
        assert abs(pull.sum()) < 3 * np.sqrt(pull.size)
    assert np.allclose(bins.ratio / bins.ratio_error, bins.data_amplitude / bins.amplitude_error)
