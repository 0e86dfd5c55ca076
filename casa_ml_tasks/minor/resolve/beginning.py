"""Where chains begin: at skies that show what a first image does, and are as rough as the prior in what it does not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.latent import Latent, Stage
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, mix
from casa_ml_tasks.minor.resolve.mass import Mass, Noise
from casa_ml_tasks.minor.resolve.point_sources import PointSources
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration
from casa_ml_tasks.minor.resolve.problem import SIGNAL, ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.resolve.sketch import sketch_of
from casa_ml_tasks.minor.resolve.spectrum import most_probable
from casa_ml_tasks.sampling.step_size import FIRST_STEP

TINY = 1e-9  # of the noise: above zero, which has no logarithm


def position_of(
    sky: LogNormalSky, planes: NDArray[np.floating], noise: NDArray, beam_area: float, darkest: NDArray
) -> Position:
    """Return a position whose planes fade into the prior's offset below the noise, with the spectra that suit it best.

    No data tell an empty pixel from a darker one. With the offset of a dark prior there, the edges of sources would
    be as high as that is dark, and the first spectra so rough that chains forget it in a hundred trajectories.

    Args:
        sky: of which they are planes.
        planes: (plane, ny, nx), Jy/pixel, not negative.
        noise: of a beam, spread over it, (plane, ny or 1, nx or 1), Jy/pixel; infinite where nothing is seen.
        beam_area: solid angle of the CLEAN beam, pixels.
        darkest: what takes the place of a lower offset, (plane, 1, 1), ln(Jy/pixel).
    """
    seen = planes**2 / (planes**2 + noise**2)
    empty = np.maximum(mix(sky.mixing, sky.offsets), darkest)
    shown = np.maximum(planes, TINY * np.where(np.isfinite(noise), noise, 1.0))
    log_planes = seen * np.log(shown) + (1 - seen) * empty
    coefficients = sky.coefficients(jnp.asarray(log_planes))
    spectrum = jnp.asarray(most_probable(sky, coefficients, float(seen.mean()), beam_area))
    return Position(coefficients / sky.amplitude(spectrum), spectrum)


@jax.jit
def fainter(sky: LogNormalSky, position: Position, mass: Mass, noise: Noise) -> Position:
    """Return a position whose sky is as rough as its spectra say where nothing is seen, but nowhere brighter.

    The logarithm of the brightness is lowered by the modulus of a random field, of the covariance that the `Mass` gives
    to what is not known; other fields have a random one added. A smooth beginning would have to become rough first,
    which takes long: chains find few modes of the finest scales excited, and hence a spectrum that lets them excite
    few.
    """
    unknown = hartley(mass.amplitude * mass.velocity(mass.momentum(noise)).excitations)
    change = [
        mix(basis.T, -jnp.abs(mix(basis, part))) / len(basis) if is_brightness else part
        for part, basis, is_brightness in sky.in_sets(unknown)
    ]
    excitations = hartley(jnp.concatenate(change)) / np.prod(sky.shape) / mass.amplitude
    return position._replace(excitations=position.excitations + excitations)


def first_latent(
    problem: ImagingProblem,
    settings: Settings,
    sources: NDArray[np.floating] | None,
    residual: Image,
    model: Image,
    state: MinorState,
) -> Latent:
    """Return what the first global iteration begins with.

    That is the regularised maximum likelihood image, the spectrum of its logarithm, and chains around it.

    Args:
        problem: whose data they are.
        settings: of the sampling.
        sources: places y, x of point sources, pixels, (source, 2); None to find them.
        residual: of the model, (channel or term, 1, ny, nx), Jy/beam.
        model: (channel or term, 1, ny, nx), Jy/pixel.
        state: what the last call left.

    Raises:
        ValueError: what the data show is negative.
    """
    dirty = jnp.asarray(residual[:, 0], float) + problem.operators[0](jnp.asarray(model[:, 0], float))
    _refuse_negative(problem, np.asarray(dirty))
    sketch, sky = sketch_of(problem, sources, residual, model, state), problem.sky
    planes, response = sketch.planes, problem.response
    point_sources = response.point_sources(sketch.sources, residual[0, 0])
    heat = max(1.0, _peak(problem, dirty, planes, point_sources) / settings.hottest)
    noise = response.noise_of_brightness(problem.beam_area)
    darkest = np.where(problem.composition.of_points, -np.inf, problem.empty)[:, None, None]
    position = position_of(sky, planes, noise, problem.beam_area, darkest)
    nodes, heated = problem.nodes_of(planes, heat), problem.heated_response(heat)
    mass = Mass.of(sky, position, nodes, heated, point_sources)
    generators = [settings.generator(0, chain) for chain in range(settings.chains)]
    chains = [fainter(sky, position, mass, mass.noise(generator)) for generator in generators]
    excitations, spectra = (np.stack(each) for each in zip(*chains, strict=True))
    return Latent(
        excitations=excitations,
        spectra=spectra,
        warm_excitations=excitations,
        warm_spectra=spectra,
        steps=np.full(settings.chains, FIRST_STEP),
        heat=np.array(heat),
        mean=planes.astype(float),
        sources=sketch.sources,
        samples=np.zeros((0, *planes.shape), np.float32),
        sampled_fluxes=np.zeros((0, len(sketch.sources))),
        sampled_spectra=np.zeros((0, sky.parameters)),
        records=state.latent.get("records", np.zeros((0, len(GlobalIteration.__dataclass_fields__)))),
        stage=np.array(Stage.WARM),
        since=np.array(0),
    )


def _refuse_negative(problem: ImagingProblem, dirty: NDArray[np.floating]) -> None:
    """Raise ValueError where no positive sky explains a dirty image, (channel or term, ny, nx), Jy/beam."""
    in_noise = problem.in_noise(dirty[:, None])
    if not problem.composition.is_signed and -in_noise.min() > max(in_noise.max(), SIGNAL):
        raise ValueError(
            f"the dirty image is more negative ({dirty.min():.3g} Jy/beam) than positive "
            f"({dirty.max():.3g} Jy/beam), which no positive sky explains; use components=['absorption'], which "
            "infers a negative component of one image as well"
        )


def _peak(problem: ImagingProblem, dirty: jax.Array, planes: NDArray[np.floating], sources: PointSources) -> float:
    """Return the peak of a dirty image without point sources, over the noise.

    dirty: (channel or term, ny, nx), Jy/beam; planes: of its image, (plane, ny, nx), Jy/pixel.
    """
    points = problem.sky.images(jnp.where(problem.composition.of_points[:, None, None], planes, 0.0))
    left = sources.without(dirty - problem.operators[0](points))
    return float(np.abs(problem.in_noise(np.asarray(left)[:, None])).max())
