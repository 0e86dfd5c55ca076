"""The truth is the direct sum over every visibility. `pytest -s -k gain` prints the tables of docs/averaging.md."""

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.data.averaging import LONGEST_GAP, Plane, averaged, joined, stokes_i
from casa_ml_tasks.data.measurement_set import Block, Selection, blocks

RADIUS = 20 * arcsecond
CORNERS = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) / np.sqrt(2)
EARTH_RATE = 2 * np.pi / 86164.1  # rad/s


def empty_sky(
    antennas: int = 7,
    size: float = 150.0,
    channels: int = 12,
    channel_width: float = 30e6,
    integrations: int = 40,
    interval: float = 10.0,
    frequency: float = 230e9,
    seed: int = 0,
) -> Plane:
    """Zero visibilities of weight 1 on the tracks of antennas within `size` metres, at declination -35 degrees."""
    radius, angle = np.random.default_rng(seed).uniform(size=(2, antennas)) * np.array([[size], [2 * np.pi]])
    first, second = np.triu_indices(antennas, 1)
    position = np.array([radius * np.cos(angle), radius * np.sin(angle)])
    east, north = position[:, first] - position[:, second]
    latitude, declination = np.deg2rad(-23), np.deg2rad(-35)
    x, y, z = -north * np.sin(latitude), east, north * np.cos(latitude)
    seconds = interval * np.arange(integrations)
    hour = (EARTH_RATE * seconds - 0.4)[:, None]
    towards, across = np.cos(hour) * x - np.sin(hour) * y, np.sin(hour) * x + np.cos(hour) * y
    v = np.cos(declination) * z - np.sin(declination) * towards
    w = np.sin(declination) * z + np.cos(declination) * towards
    rows = seconds.size * first.size
    return Plane(
        visibility=np.zeros((channels, rows), complex),
        weight=np.ones((channels, rows)),
        uvw=np.array([across.ravel(), v.ravel(), w.ravel()]),
        frequency=frequency + channel_width * np.arange(channels),
        time=np.repeat(seconds, first.size),
        streams=np.array([np.tile(first, seconds.size), np.tile(second, seconds.size)]),
    )


def with_flags(plane: Plane, seed: int = 1) -> Plane:
    """Uneven weights, of which a third, and a few whole rows, are 0."""
    rng = np.random.default_rng(seed)
    weight = rng.exponential(size=plane.weight.shape) * (rng.uniform(size=plane.weight.shape) > 1 / 3)
    return replace(plane, weight=weight * (rng.uniform(size=plane.time.size) > 0.1))


def wavelengths(plane: Plane) -> NDArray:
    """(3, channel, row)."""
    return plane.uvw[:, None] * (plane.frequency / speed_of_light)[:, None]


def fringe(uvw: NDArray, east: float, north: float) -> NDArray:
    """What a source of 1 Jy at direction cosines (east, north) gives at `uvw` (3, ...) wavelengths."""
    u, v, w = uvw
    return np.exp(2j * np.pi * (u * east + v * north + w * (np.sqrt(1 - east**2 - north**2) - 1)))


def dirty(uvw: NDArray, visibility: NDArray, weight: NDArray, east: float, north: float) -> float:
    """The direct-sum dirty image at direction cosines (east, north), Jy/beam."""
    return float(np.sum(weight * visibility * fringe(uvw, east, north).conj()).real / weight.sum())


@pytest.mark.parametrize("smearing", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("size", [15.0, 150.0, 3000.0])
@pytest.mark.parametrize("channel_width", [1e6, 30e6, -300e6])
@pytest.mark.parametrize("treat", [lambda plane: plane, with_flags], ids=["even", "flagged"])
def test_a_source_at_any_corner_loses_at_most_the_bound(smearing, size, channel_width, treat):
    plane = treat(empty_sky(size=size, channel_width=channel_width))
    for place in RADIUS * CORNERS:
        samples = averaged(replace(plane, visibility=fringe(wavelengths(plane), *place)), RADIUS, smearing)
        ideal = fringe(samples.uvw, *place)
        peak = dirty(samples.uvw, samples.visibility, samples.weight, *place)
        assert np.abs(samples.visibility - ideal).max() <= smearing + 1e-9
        assert -1e-9 <= 1 - peak <= smearing + 1e-9


def test_a_wide_field_of_large_w_stays_within_the_bound():
    plane, radius = empty_sky(size=1000, frequency=1.4e9, channel_width=1e6, interval=2.0), 0.2
    plane = replace(plane, uvw=plane.uvw + np.array([[0], [0], [1.0]]) * plane.time)
    worst = 0.0
    for place in radius * CORNERS:
        samples = averaged(replace(plane, visibility=fringe(wavelengths(plane), *place)), radius, 1e-2)
        worst = max(worst, np.abs(samples.visibility - fringe(samples.uvw, *place)).max())
    assert samples.count.max() > 1
    assert 1e-3 < worst <= 1e-2


def along_u(metres: NDArray, channels: int = 1) -> Plane:
    """One stream whose u runs through `metres`, one integration a second, at a wavelength of 1 m."""
    return Plane(
        visibility=np.ones((channels, metres.size), complex),
        weight=np.ones((channels, metres.size)),
        uvw=np.array([metres, 0 * metres, 0 * metres]),
        frequency=np.full(channels, speed_of_light),
        time=np.arange(metres.size, dtype=float),
        streams=np.zeros((1, metres.size), int),
    )


@pytest.mark.parametrize("smearing", [1e-2, 1e-3, 1e-4])
def test_even_integrations_follow_the_formula_of_the_discrete_sum_and_use_the_bound_up(smearing):
    radius, step = 1e-3, 0.3
    phase = 2 * np.pi * step * radius
    lengths = np.arange(1, 1000)
    expected = lengths[(lengths**2 - 1) * phase**2 / 24 < smearing].max()
    plane = along_u(step * np.arange(3000))
    samples = averaged(replace(plane, visibility=fringe(wavelengths(plane), radius, 0)), radius, smearing)
    loss = 1 - np.sin(expected * phase / 2) / (expected * np.sin(phase / 2))
    assert set(samples.count[:-1]) == {expected}
    assert 1 - np.abs(samples.visibility[0]) == pytest.approx(loss, rel=1e-6)
    assert 0.9 * smearing < loss < smearing


def test_short_baselines_average_longer():
    plane = empty_sky(size=1000)
    samples = averaged(plane, RADIUS, 1e-3)
    length = np.hypot(*samples.uvw[:2])
    short, long = np.quantile(length, [0.1, 0.9])
    assert samples.count[length < short].mean() > 3 * samples.count[length > long].mean()


def test_weights_add_up_and_the_phase_centre_is_unchanged():
    plane = with_flags(empty_sky())
    samples = averaged(replace(plane, visibility=np.full(plane.weight.shape, 2 - 1j)), RADIUS, 1e-3)
    assert samples.count.sum() == np.count_nonzero(plane.weight) > 2 * samples.count.size
    assert samples.weight.sum() == pytest.approx(plane.weight.sum(), rel=1e-12)
    np.testing.assert_allclose(samples.visibility, 2 - 1j, rtol=1e-12)


def test_coordinates_and_frequencies_are_weighted_means():
    plane = with_flags(empty_sky())
    samples = averaged(plane, RADIUS, 1e-3)
    for actual, each in zip(
        [*samples.uvw, samples.frequency], [*wavelengths(plane), plane.frequency[:, None]], strict=True
    ):
        assert np.sum(samples.weight * actual) == pytest.approx(np.sum(plane.weight * each), rel=1e-9)


def test_averaged_weights_are_inverse_variances():
    plane = empty_sky(antennas=12, integrations=100)
    rng = np.random.default_rng(5)
    weight = rng.uniform(0.1, 10, plane.weight.shape)
    noise = (rng.normal(size=weight.shape) + 1j * rng.normal(size=weight.shape)) / np.sqrt(weight)
    samples = averaged(replace(plane, visibility=noise, weight=weight), RADIUS, 1e-3)
    chi2 = samples.weight * np.abs(samples.visibility) ** 2 / 2
    assert samples.count.mean() > 5
    assert chi2.mean() == pytest.approx(1, abs=5 / np.sqrt(chi2.size))


def test_groups_never_cross_streams_or_gaps():
    plane = empty_sky(size=5, channels=2, integrations=60)
    scan = plane.time // 200
    shuffled = np.random.default_rng(4).permutation(plane.time.size)
    plane = replace(
        plane,
        visibility=np.tile(1000 * scan + 10 * plane.streams[0] + plane.streams[1], (2, 1)).astype(complex)[:, shuffled],
        uvw=plane.uvw[:, shuffled],
        time=(plane.time + 10 * LONGEST_GAP * scan)[shuffled],
        streams=plane.streams[:, shuffled],
    )
    samples = averaged(plane, RADIUS / 100, 1e-2)
    assert samples.count.size == np.unique(plane.visibility).size
    assert set(samples.visibility) == set(plane.visibility.ravel())
    np.testing.assert_array_equal(samples.visibility, plane.visibility[0, samples.row])


def test_a_missing_integration_does_not_end_a_group():
    plane = along_u(np.zeros(10))
    weight = plane.weight.copy()
    weight[:, 4] = 0
    assert averaged(replace(plane, weight=weight), RADIUS, 1e-3).count.tolist() == [9]


def test_the_dirty_image_changes_by_less_than_five_bounds_of_the_flux():
    """A source at s changes the image at s' by |s - s'|^2 + |s|^2, in units of the bound's |s|^2: 4 + 1 at most."""
    plane, smearing = empty_sky(size=400), 1e-3
    rng = np.random.default_rng(7)
    places, fluxes = RADIUS * rng.uniform(-1, 1, (20, 2)) / np.sqrt(2), rng.exponential(size=20)
    uvw = wavelengths(plane)
    sky = sum(flux * fringe(uvw, *place) for flux, place in zip(fluxes, places, strict=True))
    samples = averaged(replace(plane, visibility=sky), RADIUS, smearing)
    changes = [
        dirty(samples.uvw, samples.visibility, samples.weight, *place) - dirty(uvw, sky, plane.weight, *place)
        for place in [*places, *RADIUS * CORNERS, *RADIUS * rng.uniform(-1, 1, (20, 2)) / np.sqrt(2)]
    ]
    assert samples.count.size < plane.weight.size / 3
    assert 0 < np.abs(changes).max() <= 5 * smearing * fluxes.sum()


def test_the_noise_of_the_image_changes_by_less_than_the_root_of_twice_the_bound():
    """Noise comes from no direction: a sample turns by its phase within the group, of a variance of twice the bound."""
    plane, smearing = empty_sky(size=400), 1e-2
    rng, uvw = np.random.default_rng(9), wavelengths(plane)
    changes = []
    for _ in range(100):
        noise = rng.normal(size=plane.weight.shape) + 1j * rng.normal(size=plane.weight.shape)
        samples = averaged(replace(plane, visibility=noise), RADIUS, smearing)
        for corner in RADIUS * CORNERS:
            averaged_noise = dirty(samples.uvw, samples.visibility, samples.weight, *corner)
            changes.append(averaged_noise - dirty(uvw, noise, plane.weight, *corner))
    relative = np.sqrt(np.mean(np.square(changes)) * plane.weight.sum())
    assert 0.1 * np.sqrt(2 * smearing) < relative < np.sqrt(2 * smearing)


def test_flagged_samples_do_not_count_whatever_they_hold():
    plane = with_flags(replace(empty_sky(), visibility=np.ones((12, 840), complex)))
    spoilt = replace(plane, visibility=np.where(plane.weight > 0, plane.visibility, np.nan))
    spoilt.uvw[:, ~(plane.weight > 0).any(axis=0)] = np.nan
    samples = averaged(spoilt, RADIUS, 1e-3)
    np.testing.assert_allclose(samples.visibility, 1, rtol=1e-12)
    assert np.isfinite(samples.uvw).all()


def test_nothing_is_left_where_all_is_flagged():
    plane = empty_sky()
    samples = averaged(replace(plane, weight=np.zeros_like(plane.weight)), RADIUS, 1e-3)
    assert samples.count.size == 0
    assert samples.uvw.shape == (3, 0)


@pytest.mark.parametrize("dtypes", [(np.complex64, np.float32), (np.complex128, np.float64)])
def test_without_smearing_nothing_is_averaged(dtypes):
    plane = with_flags(empty_sky(channels=5))
    visibility = np.random.default_rng(8).normal(size=plane.weight.shape).astype(dtypes[0])
    plane = replace(plane, visibility=visibility, weight=plane.weight.astype(dtypes[1]))
    samples = averaged(plane, RADIUS, 0.0)
    used = plane.weight > 0
    expected = np.array([*wavelengths(plane)[:, used], visibility[used].real, plane.weight[used]])
    actual = np.array([*samples.uvw, samples.visibility.real, samples.weight])
    assert (samples.count == 1).all()
    np.testing.assert_allclose(actual[:, np.lexsort(actual)], expected[:, np.lexsort(expected)], rtol=1e-14)


def test_joined_planes_average_as_one():
    whole = with_flags(empty_sky(integrations=30, size=30))
    parts = [
        replace(
            whole,
            **{name: getattr(whole, name)[..., rows] for name in ("visibility", "weight", "uvw", "time", "streams")},
        )
        for rows in np.array_split(np.arange(whole.time.size), 5)
    ]
    (together,) = joined(parts)
    assert averaged(together, RADIUS, 1e-3).weight.tolist() == averaged(whole, RADIUS, 1e-3).weight.tolist()
    assert len(list(joined(parts, most=2 * parts[0].weight.size))) == 3
    other = replace(parts[0], frequency=parts[0].frequency + 1e9)
    assert [plane.time.size for plane in joined([parts[0], other, other])] == [126, 252]


def test_stokes_i_is_the_mean_of_both_hands_and_needs_both():
    block = Block(
        visibility=np.array([[[1.0, 1.0, np.nan]], [[3.0, 5.0, 1.0]]], complex),
        weight=np.array([[[1.0, 0.0, 1.0]], [[2.0, 2.0, 1.0]]]),
        flag=np.array([[[False, False, True]], [[False, False, False]]]),
        uvw=np.zeros((3, 3)),
        frequency=np.array([1e9]),
        frame="TOPO",
        channel=np.arange(1),
        hands=(0, 1),
        row=np.arange(3),
        time=np.arange(3.0),
        streams=np.zeros((1, 3), int),
    )
    samples = averaged(stokes_i(block), RADIUS, 1e-3)
    assert samples.visibility.tolist() == [2]
    assert samples.weight.tolist() == [3]
    alone = replace(block, visibility=block.visibility[:1], weight=block.weight[:1], flag=block.flag[:1], hands=(0,))
    both = list(joined([stokes_i(block), stokes_i(block)]))
    assert [plane.hands for plane in (*both, stokes_i(alone))] == [2, 1]
    either = stokes_i(replace(block, one_hand_suffices=True))
    assert either.visibility.tolist() == [[2, 5, 1]]
    assert either.weight.tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("visibility", np.nan, "visibility holds 1 NaN"),
        ("visibility", np.inf, "visibility holds 1 NaN"),
        ("weight", np.nan, "weight holds 1 values"),
        ("weight", -1.0, "weight holds 1 values"),
        ("uvw", np.nan, "uvw holds 1 NaN"),
        ("time", np.inf, "time holds 1 NaN"),
        ("frequency", np.nan, "must be positive and finite"),
        ("frequency", 0.0, "must be positive and finite"),
    ],
)
def test_values_that_are_not_finite_are_named(name, value, sentence):
    plane = empty_sky()
    getattr(plane, name).flat[3] = value
    with pytest.raises(ValueError, match=sentence):
        averaged(plane, RADIUS, 1e-3)


@pytest.mark.parametrize(
    ("field_radius", "smearing", "sentence"),
    [
        (0.0, 1e-3, "field_radius=0.0"),
        (np.nan, 1e-3, "field_radius=nan"),
        (20.0, 1e-3, "field_radius=20.0"),
        (RADIUS, -1e-3, r"smearing=-0\.001"),
        (RADIUS, np.nan, "smearing=nan"),
        (RADIUS, 1.0, r"smearing=1\.0"),
    ],
)
def test_parameters_out_of_range_are_named(field_radius, smearing, sentence):
    with pytest.raises(ValueError, match=sentence):
        averaged(empty_sky(), field_radius, smearing)


@pytest.mark.parametrize("name", ["visibility", "weight", "uvw", "streams"])
def test_arrays_that_do_not_fit_are_named(name):
    plane = empty_sky()
    with pytest.raises(ValueError, match=f"{name} has the shape"):
        averaged(replace(plane, **{name: getattr(plane, name)[..., 1:]}), RADIUS, 1e-3)


ARRAYS = {
    "ALMA 12 m, 150 m": (
        {"antennas": 43, "size": 75.0, "channels": 128, "channel_width": 15.6e6, "integrations": 20, "interval": 6.05},
        18.0,
    ),
    "ALMA 12 m, 1.4 km": (
        {"antennas": 43, "size": 700.0, "channels": 128, "channel_width": 15.6e6, "integrations": 20, "interval": 6.05},
        18.0,
    ),
    "ALMA 12 m, 14 km": (
        {"antennas": 43, "size": 7e3, "channels": 128, "channel_width": 15.6e6, "integrations": 20, "interval": 2.02},
        3.0,
    ),
    "VLA D, 1 km": (
        {
            "antennas": 27, "size": 500.0, "channels": 64, "channel_width": 1e6, "integrations": 60, "interval": 5.0,
            "frequency": 1.4e9,
        },
        1300.0,
    ),
    "VLA A, 36 km": (
        {
            "antennas": 27, "size": 18e3, "channels": 64, "channel_width": 1e6, "integrations": 60, "interval": 2.0,
            "frequency": 1.4e9,
        },
        300.0,
    ),
}  # fmt: skip


def test_the_gain_is_more_than_one_for_every_array():
    averaged(empty_sky(), RADIUS, 1e-3)
    print("\n| array | field radius [arcsec] | bound | visibilities | averaged | gain | [s] |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    gains = []
    for name, (observation, radius) in ARRAYS.items():
        plane = empty_sky(**observation)
        for smearing in (1e-3, 1e-2):
            start = time.perf_counter()
            samples = averaged(plane, radius * arcsecond, smearing)
            seconds = time.perf_counter() - start
            gains.append(samples.count.sum() / samples.count.size)
            print(
                f"| {name} | {radius:g} | {smearing:g} | {samples.count.sum()} | {samples.count.size} "
                f"| {gains[-1]:.1f} | {seconds:.2f} |"
            )
    assert min(gains) > 1


REAL = {
    "HD142527_B9cont.ms.tar.gz": 8.0,
    "NGC5921_cal.ms.tar.gz": 1000.0,
    "M87_VLBA_8GHz_MOJAVE_2006-06-15.uvfits": 0.03,
    "SR1_M87_2017_095_hi_hops_netcal_StokesI.uvfits": 1e-4,
}


@pytest.mark.parametrize("name", REAL)
def test_the_gain_of_real_data_hardly_changes_their_dirty_image(name, real_ms, tmp_path):
    radius = REAL[name] * arcsecond
    planes = list(joined(stokes_i(block) for block in blocks(Selection(real_ms(name, tmp_path)))))
    places = radius * np.random.default_rng(3).uniform(-1, 1, (10, 2)) / np.sqrt(2)

    def image(smearing: float) -> tuple[NDArray, NDArray]:
        parts = [averaged(plane, radius, smearing) for plane in planes]
        uvw = np.concatenate([part.uvw for part in parts], axis=1)
        visibility, weight, count = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("visibility", "weight", "count")
        )
        return np.array([dirty(uvw, visibility, weight, *place) for place in places]), count

    truth, _ = image(0.0)
    peak = np.abs(truth).max()
    for smearing in (1e-3, 1e-2):
        values, count = image(smearing)
        change = np.abs(values - truth).max() / peak
        print(
            f"\n| {name.split('.')[0]} | {REAL[name]:g} | {smearing:g} | {count.sum()} | {count.size} "
            f"| {count.sum() / count.size:.1f} | {change:.1e} |"
        )
        assert count.size < count.sum()
        assert change < np.sqrt(2 * smearing)
