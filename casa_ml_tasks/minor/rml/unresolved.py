r"""Bright unresolved sources between pixels, which no image that is not negative can hold.

Such a source has a flux and a position of its own, and signed pixels render it in the image (`sub_pixel`). Beside the
emission E, sources of fluxes f that shift a little are
$\sum_k f_k (R_k + \delta y_k R'_{y,k} + \delta x_k R'_{x,k}) = B p$, which is linear in
$p = (f, f \delta y, f \delta x)$. So the best p follows from E: with $P = B^T H B$ it is $P^{-1} B^T (r - H E)$. A
problem of E alone is left, with

$H' = H - H B P^{-1} B^T H$ and $r' = r - H B P^{-1} B^T r$,

which the minor cycle minimises as it minimises any. Now and then the sources move to where p says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import OperatorBesideSources
from casa_ml_tasks.kernels.sub_pixel import Rendering, band_of
from casa_ml_tasks.minor.rml.local_fit import LocalFit, LocalFits, Square
from casa_ml_tasks.minor.rml.objective import Objective

#: Of the noise: flux of what may be such a source, and the residual beside it.
BRIGHT, STANDS_OUT = 20.0, 4.0
#: How much lower chi^2 must be than with the best pixels alone; rounding is so much of the square of the flux. And what
#: may be left of the residual of the pixels alone; or, with more gain, any that does not stand out.
GAIN, ROUNDING, EXPLAINED, SURE_GAIN = 25.0, 1e-6, 0.5, 100.0
#: Of the noise: what the best pixels alone leave at the least, or a gain is the tolerance of their fit.
LEFT_BY_PIXELS = 2.0
#: Or else: flux over the noise of a source that explains all with that little higher a chi^2; over the noise as it is
#: exaggerated on the way. The data would tell its size from a sixth of the beam on; of fainter ones pixels may show a
#: size as well as none.
VERY_BRIGHT, BRIGHT_ON_THE_WAY, SIMPLE = 400.0, 250.0, 10.0
#: In beams, and in its flux: how far the sidelobes of a source between pixels matter, and for how faint emission.
FAR, FAINT = 3.0, 10.0
#: By how much these may be missed by a source that was found, and within how many pixels it is the same.
KEPT, SAME = 4.0, 2.0
#: Reach of the squares that are compared, and the least distance of two sources, in beams.
REACH, DISTANCE = 1.5, 1.0
#: Sources move if else chi would err by more than this.
CURVED = 0.05
LONGEST_SHIFT = 0.5  # pixels
MOST_SOURCES = 32
MOST_TRIALS = 8  # at once
MOST_REFUSED = 24  # in one minor cycle: where so many are no sources, as with errors of calibration, none are sought
MOST_NUMBERS = 3e8  # in the dirty images of all sources
WIDEST_BEAM = 14.0  # pixels; finer pixels hold a source between them, and squares of so many would take minutes
PADDING = 4  # to so many sources, or twice, four times, ... as many, for each number is compiled anew


class Sources(NamedTuple):
    """Some point sources between pixels; maybe none.

    Attributes:
        flux: Jy, (source,).
        y, x: positions, pixels, (source,).
    """

    flux: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    @classmethod
    def of(cls, rows: ArrayLike) -> Sources:
        """Return the sources of a table of flux, y and x, (source, 3)."""
        return cls(*np.asarray(rows, float).reshape(-1, 3).T)

    def rows(self) -> NDArray[np.float64]:
        """Return the table of flux, y and x, (source, 3)."""
        return np.stack(self, axis=1)

    def places(self) -> NDArray[np.float64]:
        """Return the positions y and x, pixels, (source, 2)."""
        return np.stack(self[1:], axis=1)

    def image(self, shape: tuple[int, int], band: tuple[float, float]) -> NDArray[np.float64]:
        """Return the pixels of the sources, (ny, nx), Jy/pixel."""
        return Rendering.at(self.places(), shape, band).image(self.flux, shape)


NONE = Sources.of([])


class Replaced(NamedTuple):
    """Emission that a source has taken the place of.

    Attributes:
        y, x: of the source, pixels.
        square: around it.
        parts: of the emission, (part, height, width), Jy/pixel.
    """

    y: float
    x: float
    square: Square
    parts: NDArray[np.floating]


class Unresolved:
    """The sources of one plane while its image is minimised; finds them.

    Attributes:
        objective: of the emission beside the sources.
        sources: as they were when the objective was made.
    """

    def __init__(self, objective: Objective, psf: NDArray[np.floating], support: NDArray[np.bool_], sources: Sources):
        """Begin with the sources of the model.

        Args:
            objective: of emission alone.
            psf: (2 ny, 2 nx), Jy/beam.
            support: (ny, nx), where sources may be.
            sources: of the model.
        """
        self._alone, self._operator = objective, objective.likelihood.operator
        self._support, self._band = support, band_of(psf)
        self._shape = support.shape
        self._residual = np.asarray(objective.likelihood.residual, float)
        self._sigma = float(objective.likelihood.sigma)
        self._width = float(np.sqrt(4 * np.log(2) / np.pi * float(objective.beam_area)))
        self._fits = LocalFits(psf, self._band, self._width)
        self._most = 0
        if self._width < WIDEST_BEAM:
            self._most = int(min(MOST_SOURCES, MOST_NUMBERS // (3 * support.size)))
        self._refused: list[tuple[float, float, float, float]] = []  # y, x, and flux and noise then
        self._refusals = 0
        self._replaced: list[Replaced] = []
        self._returned: list[tuple[float, float]] = []  # y, x, for good
        self._confirmed = False
        self._place(sources)

    def pixels(self) -> NDArray[np.float64]:
        """Return the pixels of the sources, (ny, nx), Jy/pixel."""
        return self.sources.image(self._shape, self._band)

    def look(self, parts: jax.Array, factor: float, last: bool) -> tuple[Objective, jax.Array] | None:
        """Move the sources and look for others, as `minimisation.Look` has it."""
        emission = np.array(self.objective.image(parts), float)
        residual = np.asarray(self.objective.likelihood.predicted_residual(jnp.asarray(emission, jnp.float32)), float)
        moved, curved = self._best_sources(emission)
        if curved > CURVED * factor:
            self._place(moved)
            return self.objective, parts
        found = self._new_sources(emission, residual, factor * self._sigma)
        if found.flux.size:
            self._place(Sources.of(np.concatenate([moved.rows(), found.rows()])))
            return self.objective, self._parts_without(parts, found)
        if last and not self._confirmed and moved.flux.size:
            self._confirmed = True
            kept = self._cannot_be_pixels(moved, emission, residual)
            if not kept.all():
                returned = Sources.of(moved.rows()[~kept])
                self._returned += [(y, x) for _, y, x in returned.rows()]
                self._place(Sources.of(moved.rows()[kept]))
                return self.objective, self._parts_with(parts, returned)
        return None

    def finish(self, parts: jax.Array) -> tuple[Sources, NDArray[np.float64]]:
        """Return the best sources beside the emission, and their pixels, (ny, nx), Jy/pixel."""
        moved, _ = self._best_sources(np.array(self.objective.image(parts), float))
        return moved, np.where(self._support, moved.image(self._shape, self._band), 0.0)

    def _place(self, sources: Sources) -> None:
        """Make the objective of the emission beside sources that are where these are."""
        self.sources = sources
        if not sources.flux.size:
            self.objective = self._alone
            return
        rendering = Rendering.at(sources.places(), self._shape, self._band)
        columns = rendering.images(self._shape).reshape(-1, *self._shape)
        beams = self._dirty_of(columns)
        self._columns, self._beams = columns, beams
        self._inverse = np.linalg.inv(np.einsum("iyx,jyx->ij", columns, beams))
        best = self._inverse @ np.einsum("iyx,yx->i", columns, self._residual)
        padding = 3 * (padded(len(sources.flux)) - len(sources.flux))
        operator = OperatorBesideSources(
            self._operator,
            jnp.asarray(np.pad(beams, [(0, padding), (0, 0), (0, 0)]), jnp.float32),
            jnp.asarray(np.pad(self._inverse, [(0, padding), (0, padding)])),
        )
        alone = self._alone.likelihood
        emission = np.asarray(alone.model, float) - rendering.image(sources.flux, self._shape)
        likelihood = QuadraticLikelihood(
            operator,
            jnp.asarray(self._residual - np.tensordot(best, beams, 1), jnp.float32),
            jnp.asarray(emission, jnp.float32),
            alone.sigma,
        )
        self.objective = replace(self._alone, likelihood=likelihood)

    def _best_sources(self, emission: NDArray[np.float64]) -> tuple[Sources, float]:
        """Return the best sources beside some emission, and by how much chi errs if they are rendered as before."""
        old = self.sources
        if not old.flux.size:
            return old, 0.0
        change = emission - np.asarray(self.objective.likelihood.model, float)
        seen = np.einsum("iyx,yx->i", self._columns, self._residual) - np.einsum("iyx,yx->i", self._beams, change)
        flux, *slopes = (self._inverse @ seen).reshape(3, -1)
        flux = flux + old.flux
        exists = flux > 0
        shifts = np.clip(np.array(slopes) / np.where(exists, flux, np.inf), -LONGEST_SHIFT, LONGEST_SHIFT)
        curvature = np.diag(np.einsum("iyx,jyx->ij", self._columns, self._beams)).reshape(3, -1)[1:]
        curved = np.max(flux * np.sum(shifts**2 * curvature, axis=0)) / (2 * self._sigma)
        y, x = (np.clip(at + by, 0, n - 1) for at, by, n in zip(old[1:], shifts, self._shape, strict=True))
        moved = Sources(flux[exists], y[exists], x[exists])
        return moved, float(curved) if exists.all() else np.inf

    def _new_sources(self, emission: NDArray[np.float64], residual: NDArray[np.float64], sigma: float) -> Sources:
        """Return sources that pixels cannot hold; sigma: the noise against which they are judged, Jy/beam."""
        found: list[tuple[float, float, float]] = []
        for y, x in self._candidates(emission, residual, sigma):
            taken = np.array([*zip(*self.sources[1:], strict=True), *(row[1:] for row in found)]).reshape(-1, 2)
            if np.hypot(*(taken - (y, x)).T).min(initial=np.inf) < DISTANCE * self._width:
                continue
            if len(taken) >= self._most:
                break
            fit = self._fit((y, x), emission, residual, sigma)
            near = np.hypot(fit.y - y, fit.x - x) < max(1.5, 0.5 * self._width)
            is_inside = near and self._is_inside(fit.y, fit.x)
            if is_inside and fit.flux > BRIGHT * sigma and self._is_source(fit, sigma):
                found.append((fit.flux, fit.y, fit.x))
            else:
                self._refused.append((y, x, fit.flux, sigma))
                self._refusals += 1
        if found:
            self._confirmed = False
            self._refused = [each for each in self._refused if not self._is_hidden(each, found)]
        return Sources.of(found)

    def _is_inside(self, y: float, x: float) -> bool:
        """Return whether all pixels that render a source there are within the support."""
        rendering = Rendering.at((y, x), self._shape, self._band)
        return bool(self._support[np.ix_(rendering.rows[0], rendering.columns[0])].all())

    def _is_hidden(
        self, refused: tuple[float, float, float, float], found: Sequence[tuple[float, float, float]]
    ) -> bool:
        """Return whether what was refused lay in the sidelobes of a source that has now been found."""
        y, x, flux, _ = refused
        return any(np.hypot(at[1] - y, at[2] - x) < FAR * self._width or at[0] > FAINT * flux for at in found)

    def _is_source(self, fit: LocalFit, sigma: float, ease: float = 1.0) -> bool:
        """Return whether a source explains what pixels do not, or a bright one all that pixels do, beyond the noise.

        What errors of calibration or a negative source leave is no source between pixels, although one may gain by it.
        """
        gains = fit.gain > GAIN / ease * sigma**2 + ROUNDING * fit.flux**2
        gains &= ease * fit.residual_of_pixels > LEFT_BY_PIXELS * sigma
        explains = fit.residual < EXPLAINED * fit.residual_of_pixels
        explains |= fit.gain > SURE_GAIN / ease * sigma**2 and fit.residual < STANDS_OUT * sigma
        is_bright = ease * fit.alone_flux > max(VERY_BRIGHT * self._sigma, BRIGHT_ON_THE_WAY * sigma)
        is_bright &= "points" not in self._alone.regularisers  # which tell a source from what is beside it themselves
        is_simple = (
            -fit.gain - GAIN * sigma**2 < fit.cost < ease * SIMPLE * sigma**2
        )  # or what is beside it is negative
        return (gains and explains) or (is_bright and is_simple)

    def _candidates(
        self, emission: NDArray[np.float64], residual: NDArray[np.float64], sigma: float
    ) -> list[tuple[int, int]]:
        """Return pixels y, x of bright emission that is compact or in a residual that stands out, brightest first."""
        box, reach = 1 + 2 * round(self._width / 2), 1 + 2 * self._reach
        flux = box**2 * uniform_filter(emission, box, mode="constant")
        stands_out = maximum_filter(np.abs(residual), reach) > STANDS_OUT * sigma
        stands_out |= self._excess(emission) > 0.5 * BRIGHT_ON_THE_WAY * sigma
        is_peak = (emission == maximum_filter(emission, box)) & (emission > 0)
        peaks = np.argwhere(is_peak & stands_out & (flux > BRIGHT * sigma) & self._support)
        peaks = peaks[np.argsort(-flux[*peaks.T], kind="stable")]
        refused = [at[:2] for at in self._refused if at[3] < 1.1 * sigma]
        places = np.array([*refused, *self._returned]).reshape(-1, 2)
        new = [at for at in peaks if np.hypot(*(places - at).T).min(initial=np.inf) > SAME]
        return [(int(y), int(x)) for y, x in new[: min(MOST_TRIALS, max(MOST_REFUSED - self._refusals, 0))]]

    def _excess(self, emission: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the flux of 3 x 3 pixels above that of as many a beam around, where it is most of it, (ny, nx), Jy."""
        around = 9 * ring_mean(emission, self._width)
        flux = 9 * uniform_filter(emission, 3, mode="constant")
        return np.where(around < 0.5 * flux, flux - around, 0.0)

    def _fit(
        self,
        at: tuple[float, float],
        emission: NDArray[np.float64],
        residual: NDArray[np.float64],
        sigma: float,
        start: tuple[float, float] | None = None,
    ) -> LocalFit:
        """Fit all that is around a place, from the centroid of its emission on. residual: without a source, Jy/beam."""
        square = Square.around(*at, self._reach, self._shape)
        inside = np.zeros(self._shape)
        inside[square] = emission[square]
        dirty = residual + self._dirty_of(inside)
        start = start or self._centroid(at, emission)
        return self._fits.of_point(square, start, dirty, sigma)

    def _centroid(self, at: tuple[float, float], emission: NDArray[np.float64]) -> tuple[float, float]:
        core = Square.around(*at, 2, self._shape)
        weights, (rows, columns) = emission[core], np.mgrid[core]
        if not weights.any():
            return at
        return float(np.average(rows, weights=weights)), float(np.average(columns, weights=weights))

    def _cannot_be_pixels(
        self, sources: Sources, emission: NDArray[np.float64], residual: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return which of the sources pixels cannot hold, judged by the true noise, (source,)."""
        kept = []
        for row in sources.rows():
            pixels, at = Sources.of(row).image(self._shape, self._band), (row[1], row[2])
            fit = self._fit(at, emission, residual + self._dirty_of(pixels), self._sigma, start=at)
            kept.append(self._is_source(fit, self._sigma, KEPT))
        return np.array(kept)

    def _parts_without(self, parts: jax.Array, found: Sources) -> jax.Array:
        """Return the parts with no more in the place of the sources than around them."""
        changed, count = np.array(parts), len(self.objective.components(parts)[0])
        for _, y, x in found.rows():
            square = Square.around(y, x, self._reach, self._shape)
            before = changed[:, *square].copy()
            for part in changed[:count]:
                part[square] = np.minimum(part[square], np.median(_edge(part[square])))
            changed[count:, *square] = 0
            self._replaced.append(Replaced(y, x, square, before - changed[:, *square]))
        return jnp.asarray(changed)

    def _parts_with(self, parts: jax.Array, returned: Sources) -> jax.Array:
        """Return the parts with the flux of some sources where it was before they were found.

        Of sources that an earlier minor cycle has found that is not known: theirs goes into the four pixels around.
        """
        more = np.array(parts)
        for flux, y, x in returned.rows():
            known = [
                each for each in self._replaced if np.hypot(each.y - y, each.x - x) < SAME and each.parts.sum() > 0
            ]
            if known:
                emission = known[-1].parts
                more[:, *known[-1].square] += flux / emission.sum() * emission
                continue
            rows, columns = (
                np.clip(int(at) + np.arange(2), 0, n - 1) for at, n in zip((y, x), self._shape, strict=True)
            )
            weights = (np.array([1 - at % 1, at % 1]) for at in (y, x))
            np.add.at(more[0], np.ix_(rows, columns), flux * np.multiply.outer(*weights))
        return jnp.asarray(more)

    def _dirty_of(self, images: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(self._operator(jnp.asarray(images, jnp.float32)), float)

    @property
    def _reach(self) -> int:
        return int(np.ceil(REACH * self._width))


def padded(count: int) -> int:
    """Return the least of PADDING times 1, 2, 4, ... that is not below a number of sources."""
    return int(PADDING * 2 ** max(0, int(np.ceil(np.log2(count / PADDING)))))


def ring_mean(image: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the mean over the edge of a square of half side `radius` around each pixel, (ny, nx)."""
    inner, outer = 2 * int(radius) - 1, 2 * int(radius) + 1
    sums = [size**2 * uniform_filter(image, size, mode="constant") for size in (outer, inner)]
    return (sums[0] - sums[1]) / (outer**2 - inner**2)


def _edge(image: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
