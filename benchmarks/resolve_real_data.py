"""resolveimage beside multi-scale CLEAN on real data of ALMA, the VLA and the Event Horizon Telescope.

No one knows the true sky, so this is for the eye: tclean's restored image, the posterior mean at the same colours, as
what a CLEAN beam's solid angle of it emits, and its relative uncertainty. `pedestal` is the median of a model outside
`radius` over the noise of natural weights, both of a beam: emission that no one would believe. Residuals are over that
noise too, though tclean's image has other weights.

python -m benchmarks.resolve_real_data --figures docs/images
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import tclean
from matplotlib.colors import AsinhNorm, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from benchmarks.held_out import AUTOMASK, MULTISCALE, beam_ellipse, save
from benchmarks.measure import print_table, timed
from benchmarks.real_data_files import RealDataMissing, real_ms
from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import Beam, read_beam, read_cell, read_image
from casa_ml_tasks.quantities import si_prefix
from casa_ml_tasks.report.sky_figures import SEQUENTIAL, asinh_ticks, sky_edges

COLUMNS = (
    "data",
    "task",
    "flux [Jy]",
    "peak [Jy/beam]",
    "flux around the peak [Jy]",
    "pedestal [σ]",
    "r.m.s. residual [σ]",
    "noise over WEIGHT's",
    "global iterations",
    "[s]",
)


@dataclass(frozen=True)
class Observation:
    """A data set, and how to image it.

    Attributes:
        archive: file name.
        title: of the figure.
        imaging: tclean's parameters that both tasks share.
        clean: those of tclean alone.
        radius: of what is drawn, arcsec.
        unit: of the offsets that are drawn, and in arcsec.
    """

    archive: str
    title: str
    imaging: Mapping[str, Any]
    clean: Mapping[str, Any]
    radius: float
    unit: tuple[str, float] = ("arcsec", 1.0)


OBSERVATIONS = {
    "hd142527": Observation(
        archive="HD142527_B9cont.ms.tar.gz",
        title="HD 142527, ALMA Band 9 continuum",
        imaging={"imsize": 256, "cell": "0.05arcsec"},
        clean=AUTOMASK,
        radius=2.4,
    ),
    "3c273": Observation(
        archive="3C273XC1.fits",
        title="3C 273, VLA 8 GHz",
        imaging={"imsize": 256, "cell": "0.25arcsec"},
        clean={},
        radius=28.0,
    ),
    "m87": Observation(
        archive="SR2_M87_2017_101_lo_hops_zbl-dtcal+selfcal.uvfits",
        title="M 87, Event Horizon Telescope, 11 April 2017, self-calibrated",
        imaging={"imsize": 128, "cell": "2e-6arcsec"},
        clean={"weighting": "uniform", "niter": 2000},
        radius=1.2e-4,
        unit=("µas", 1e-6),
    ),
}


@dataclass(frozen=True)
class Images:
    """What the two tasks made, (ny, nx), NaN outside the primary beam.

    Attributes:
        restored: by tclean, Jy/beam.
        mean: of the posterior, Jy in the solid angle of tclean's beam.
        relative_uncertainty: of the same, NaN where the mean is not above it.
        noise: of natural weights, Jy/beam.
    """

    restored: NDArray[np.floating]
    mean: NDArray[np.floating]
    relative_uncertainty: NDArray[np.floating]
    noise: float


def compare(observation: Observation, work: Path) -> tuple[Images, list[list[str]]]:
    """Run both tasks in `work`. Returns their images, and a row of the table for each task."""
    vis = real_ms(observation.archive, work)
    clean, ours = work / "clean", work / "resolve"
    shared = {"vis": vis, "datacolumn": "data", **observation.imaging}
    clean_options = MULTISCALE | {"weighting": "briggs", "robust": 0.5, **observation.clean}
    report, seconds = timed(resolveimage, imagename=str(ours), **shared)
    _, clean_seconds = timed(tclean, imagename=str(clean), **shared, **clean_options)
    noise, posterior = float(report["image_noise"]), report["posterior"]
    beam, cell = read_beam(f"{clean}.image"), read_cell(f"{clean}.image")
    assert beam is not None, "a restored image has one"
    inside = read_image(f"{clean}.pb")[0, 0] > 0.2

    def statistics(imagename: Path) -> list[str]:
        model, residual, image = (read_image(f"{imagename}.{kind}")[0, 0] for kind in ("model", "residual", "image"))
        y, x = np.unravel_index(image.argmax(), image.shape)
        half = round(1.5 * beam.major / cell)
        core = model[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].sum()
        ny, nx = model.shape
        distance = cell * np.hypot(*np.ogrid[-(ny // 2) : ny - ny // 2, -(nx // 2) : nx - nx // 2])
        outside = inside & (distance > observation.radius)
        pedestal = np.median(model[outside]) * beam.area(cell) / noise
        rest = np.sqrt(np.mean(residual[inside] ** 2)) / noise
        return [f"{image.max():.3g}", f"{core:.3f}", f"{pedestal:.2g}", f"{rest:.2f}"]

    flux = f"{posterior['flux'][0][0]:.3f} ± {posterior['flux_uncertainty'][0][0]:.3f}"
    count = f"{len(posterior['iterations'])}{'' if posterior['converged'] else ', not converged'}"
    scale, clean_flux = f"{report['noise_scale']:.2f}", f"{read_image(f'{clean}.model').sum():.3f}"
    rows = [
        [observation.title, "tclean", clean_flux, *statistics(clean), "", "", f"{clean_seconds:.0f}"],
        [observation.title, "resolveimage", flux, *statistics(ours), scale, count, f"{seconds:.0f}"],
    ]
    restored, mean, uncertainty = (
        np.where(inside, read_image(path)[0, 0], np.nan)
        for path in (f"{clean}.image", f"{ours}.model", f"{ours}.uncertainty")
    )
    ratio = np.where(mean > uncertainty, uncertainty / mean, np.nan)
    return Images(restored, beam.area(cell) * mean, ratio, noise), rows


def draw(observation: Observation, images: Images, work: Path) -> Figure:
    """tclean's image, the posterior mean, and its relative uncertainty, side by side."""
    beam, cell = read_beam(work / "clean.image"), read_cell(work / "clean.image")
    assert beam is not None, "a restored image has one"
    unit, arcsec = observation.unit
    edges = [edge / arcsec for edge in sky_edges(images.mean.shape, cell)]
    radius = observation.radius / arcsec
    limits = (radius, -radius, -radius, radius)
    brightest = max(float(np.nanmax(images.restored)), float(np.nanmax(images.mean)))
    factor, prefix = si_prefix(brightest)
    brightest, width = brightest / factor, 5 * images.noise / factor
    sky = AsinhNorm(linear_width=width, vmin=-width, vmax=brightest)
    lowest = max(float(np.nanmin(images.relative_uncertainty, initial=0.5)), 1e-3)
    figure = Figure(figsize=(9.6, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    panels: Sequence[tuple[str, NDArray[np.floating], dict[str, Any]]] = (
        ("tclean, multi-scale", images.restored / factor, {"norm": sky, "cmap": SEQUENTIAL}),
        ("resolveimage: mean", images.mean / factor, {"norm": sky, "cmap": SEQUENTIAL}),
        ("relative uncertainty", images.relative_uncertainty, {"norm": LogNorm(lowest, 1), "cmap": "viridis_r"}),
    )
    for each, (title, image, colours) in zip(axes, panels, strict=True):
        drawn = each.imshow(image, origin="lower", extent=edges, **colours)
        each.set(title=title, xlim=limits[:2], ylim=limits[2:], facecolor="0.9", xlabel=f"offset East ({unit})")
    drawn_beam = Beam(beam.major / arcsec, beam.minor / arcsec, beam.angle)
    axes[0].add_patch(beam_ellipse(drawn_beam, limits))
    axes[0].set_ylabel(f"offset North ({unit})")
    figure.suptitle(observation.title)
    scale = figure.colorbar(axes[0].images[0], ax=axes[:2], location="bottom", aspect=40, shrink=0.9)
    ticks = asinh_ticks(sky)
    scale.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    scale.minorticks_off()
    scale.set_label(f"{prefix}Jy/beam")
    relative = figure.colorbar(drawn, ax=axes[2], location="bottom", aspect=20, shrink=0.9, label="uncertainty / mean")
    relative.ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if lowest > 0.03 else (1, 3), numticks=99))
    relative.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    relative.ax.xaxis.set_minor_locator(NullLocator())
    return figure


def rows(names: Sequence[str], figures: Path | None) -> Iterator[list[str]]:
    """Of all observations, whose figures are saved in a folder, where one is given."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            try:
                images, found = compare(OBSERVATIONS[name], work)
            except RealDataMissing as missing:
                raise SystemExit(str(missing)) from missing
            yield from found
            if figures is not None:
                save(draw(OBSERVATIONS[name], images, work), figures / f"resolve_{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=OBSERVATIONS, nargs="+", default=list(OBSERVATIONS), help="observations")
    parser.add_argument("--figures", type=Path, help="folder for a PNG of each observation")
    options = parser.parse_args()
    print_table(COLUMNS, rows(options.only, options.figures))


if __name__ == "__main__":
    main()
