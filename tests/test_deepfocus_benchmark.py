"""The scores and baselines of benchmarks.deepfocus: hand-made cases, closed forms, and one small run."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.deepfocus import dirty_cube, truth_of
from benchmarks.deepfocus_autoencoder import (
    Autoencoder,
    autoencoder_boxes,
    loss,
    stretched,
    structural_similarity,
)
from benchmarks.deepfocus_baselines import ceiling, clean_image, clean_peaks, hogbom
from benchmarks.deepfocus_own import OwnCounts
from benchmarks.deepfocus_scores import Detections, Scores, Truth, boxes_of, near, overlaps, paired
from benchmarks.deepfocus_tables import calibration_rows, character_rows, detection_rows, line_row
from casa_ml_tasks.simulation import CubeObservation, CubeSources, simulate_cube
from casa_ml_tasks.simulation.random_fields import draw_field
from casa_ml_tasks.simulation.uv_coverage import Observation, random_observations, stacked
from casa_ml_tasks.sources.dirty_cube import Beam, Plane
from casa_ml_tasks.sources.gaussians import Gaussians

BEAM = 5.0


def gaussians(x, y=None, major=10.0, minor=10.0, angle=0.0, flux=1.0):
    one = np.ones(len(x))
    return Gaussians(x, 30.0 * one if y is None else y, major * one, minor * one, angle * one, flux * one)


def truth(x, snr, **shape):
    there = gaussians(x, **shape)
    return Truth(there, np.array(snr, float))


def detections(there, error=0.1):
    return Detections(boxes_of(there, BEAM), there, np.full(len(there), error), np.ones(len(there)))


def scores_of(true, found):
    scores = Scores()
    scores.add(true, found, BEAM, 0.0)
    return scores


def test_the_overlap_of_boxes_is_intersection_over_union():
    one = np.array([[0.0, 0, 4, 2], [10, 10, 12, 12]])
    other = np.array([[2.0, 0, 6, 2], [0, 0, 4, 2], [10, 10, 11, 11]])
    np.testing.assert_allclose(overlaps(one, other), [[4 / 12, 1, 0], [0, 0, 1 / 4]])


def test_pairs_are_one_to_one_and_as_many_as_possible():
    score = np.array([[0.95, 0.7], [0.9, 0.1], [0.65, 0.3]])
    np.testing.assert_array_equal(paired(score, 0.6), [1, 0, -1])
    np.testing.assert_array_equal(paired(score, 0.96), [-1, -1, -1])
    np.testing.assert_array_equal(paired(np.zeros((2, 0)), 0.6), [-1, -1])
    places = np.array([[0.0, 0], [3, 0]])
    np.testing.assert_array_equal(near(places, np.array([[2.9, 0], [2.8, 0], [40, 0]]), 1.0), [-1, 0])


def test_a_second_box_on_the_same_source_is_unmatched_but_not_spurious_and_one_beside_all_is_spurious():
    found = detections(gaussians([20.2, 20.4, 60.0]))
    scores = scores_of(truth([20.0, 100.0], [20, 20]), found)
    assert scores.share("complete") == 0.5
    assert scores.share("centred") == 0.5
    assert [int(each.sum()) for each in (scores.unmatched[0], scores.spurious[0])] == [2, 1]
    assert scores.excess == 1  # three boxes for two sources


def test_the_published_count_forgives_a_spurious_box_in_an_image_that_misses_a_source():
    scores = scores_of(truth([20.0, 100.0], [20, 20]), detections(gaussians([20.0, 60.0])))
    assert int(scores.spurious[0].sum()) == 1
    assert scores.excess == 0


def test_faint_sources_do_not_count_and_what_finds_them_is_not_wrong():
    scores = scores_of(truth([20.0, 60.0], [2.0, 8.0]), detections(gaussians([20.0, 60.0])))
    assert scores.share("complete", 6, 12) == 1
    assert np.isnan(scores.share("complete", 12, 30))
    assert len(scores.snr[0]) == 1
    assert not scores.unmatched[0].any()
    assert not scores.spurious[0].any()


def test_points_are_as_large_as_half_a_beam_for_their_boxes():
    true, found = gaussians([20.0], major=1.5, minor=1.5), gaussians([20.0], major=2.0, minor=0.0)
    np.testing.assert_array_equal(boxes_of(true, BEAM), boxes_of(found, BEAM))
    shifted = gaussians([20.0 + BEAM], major=0.0, minor=0.0)
    assert scores_of(truth([20.0], [20], major=1.5, minor=1.5), detections(shifted)).share("complete") == 0


def test_flux_pull_and_angle_are_those_of_the_pairs():
    true = truth([20.0, 60.0], [20, 20], major=12.0, minor=6.0, angle=0.05)
    found = detections(gaussians([60.0, 20.0], major=12.0, minor=6.0, angle=np.pi - 0.05, flux=np.array([1.05, 0.7])))
    matches = scores_of(true, found).of_matches(12)
    np.testing.assert_allclose(matches[:, 0], [-0.3, 0.05])
    np.testing.assert_allclose(matches[:, 1], [-3, 0.5])
    np.testing.assert_allclose(matches[:, 2], 0.1)
    np.testing.assert_allclose(matches[:, 3], 0.5)


def test_clean_of_a_point_is_the_point():
    n = 12
    psf = np.random.default_rng(1).uniform(-0.2, 0.2, (2 * n, 2 * n + 2)).astype(np.float32)
    psf = (psf + psf[::-1, ::-1]) / 2
    psf = np.pad(psf[1:, 1:], ((1, 0), (1, 0)))
    psf[n, n + 1] = 1
    dirty = 2 * psf[n - 3 : 2 * n - 3, n + 1 - 7 : 2 * n + 2 - 7]
    model, residual = hogbom(np.ascontiguousarray(dirty), psf, 1000, 0.1, np.float32(1e-4))
    expected = np.zeros((n, n + 1))
    expected[3, 7] = 2
    np.testing.assert_allclose(model, expected, atol=2e-3)
    np.testing.assert_allclose(residual, 0, atol=1.1e-4)


@pytest.fixture(scope="module")
def seen():
    """One bright elongated source and a fainter one, 64 pixels, with a line."""
    nothing = np.full(2, np.nan)
    sources = CubeSources(
        x=np.array([20.3, 42.0]),
        y=np.array([25.0, 40.4]),
        major=np.array([10.0, 5.0]),
        minor=np.array([5.0, 4.0]),
        angle=np.array([0.6, 2.0]),
        profile=np.zeros(2, int),
        continuum=np.array([3.0, 1.0]) * 1e-2,
        index=np.zeros(2),
        line=np.array(["none", "none"]),
        centre=nothing,
        width=nothing,
        line_flux=np.zeros(2),
    )
    observation = CubeObservation(Observation("alma.cycle8.4", -0.5, 0.5, None, 5.0), 230e9, 15.6e6, 4, 64)
    cube = simulate_cube(3, observation=observation, sources=sources)
    return cube, dirty_cube(cube), truth_of(cube)


def test_the_beam_of_the_dirty_cube_has_the_direction_of_the_psf(seen):
    cube, dirty, _ = seen
    beam, n = dirty.beam, cube.observation.pixels
    along = [
        np.rint([n + 2 * np.sin(turn), n + 2 * np.cos(turn)]).astype(int)
        for turn in (beam.angle, beam.angle + np.pi / 2)
    ]
    assert dirty.psf[0][tuple(along[0])] > dirty.psf[0][tuple(along[1])]


def test_fits_from_the_truth_and_from_clean_peaks_find_both_sources(seen):
    _, dirty, true = seen
    plane = dirty.integrated()
    for found in (ceiling(plane, true), clean_peaks(plane)):
        scores = scores_of(true, found)
        assert scores.share("complete") == 1
        assert not scores.spurious[0].any()
        assert np.all(np.abs(scores.of_matches(0)[:, 1]) < 4)
    peak = plane.noise * true.snr.max()
    assert clean_image(plane).max() == pytest.approx(peak, rel=0.2)


def test_the_autoencoder_has_the_size_of_the_papers():
    network = jax.eval_shape(lambda: Autoencoder(256, jax.random.PRNGKey(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(network)) == pytest.approx(33.7e6, rel=2e-3)


def test_structural_similarity_is_one_of_the_same_image_and_lower_of_another():
    images = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 12, 12)), jnp.float32)
    assert structural_similarity(images, images) == pytest.approx(1, abs=1e-4)
    assert structural_similarity(images, 1 - images) < 0


def test_a_map_of_the_true_sky_has_no_loss():
    coverages = stacked(random_observations(["alma.cycle5.3"], 2, 1), 32)
    fields = jax.vmap(partial(draw_field, coverages=coverages))(jax.random.split(jax.random.PRNGKey(2), 3))
    assert loss(lambda dirty: stretched(fields.sky), fields) == pytest.approx(0, abs=1e-4)
    assert loss(lambda dirty: stretched(dirty), fields) > 0.1


def test_islands_of_a_map_are_boxes_grown_by_a_pixel():
    there = np.zeros((32, 40), np.float32)
    there[5:8, 10:20] = 0.5
    there[20, 30] = 1.0
    there[25, 3] = 0.1  # below the threshold
    there[21, 32] = 0.2  # grows together with its neighbour
    plane = Plane(there, np.zeros((64, 80)), 1.0, Beam(5.0, 5.0, 0.0))
    boxes = autoencoder_boxes(lambda dirty: dirty, plane).boxes
    np.testing.assert_array_equal(boxes, [[8.5, 3.5, 20.5, 8.5], [28.5, 18.5, 33.5, 22.5]])


def test_tables_have_a_row_for_each_method(seen):
    _, dirty, true = seen
    scores = scores_of(true, ceiling(dirty.integrated(), true))
    of = {"fit": {1.0: scores}, "boxes": {0.8: scores, 1.2: scores}}
    rows = list(detection_rows(of))
    assert [row[0] for row in rows] == ["fit", "boxes, boxes x 0.8"]
    assert rows[0][1] == "1.00"
    assert next(character_rows({"fit": {1.0: scores}}))[0] == "fit"
    counts = OwnCounts([np.array([0.05, 0.95])], [np.array([False, True])], [5.0, 9.0], [False, True], [False, True])
    assert next(calibration_rows(counts, scores))[-1] == "0.050"
    assert line_row(counts) == ["0.000", "1.000", "2", "0.500"]
