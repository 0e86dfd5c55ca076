"""resolveimage beside tclean where frequency matters: spectral indices of two sources, a line cube, its continuum.

python -m benchmarks.resolve_spectra
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import tclean
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.measure import print_table, timed
from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.simulation import Source, add_to_channels, simulate

IMSIZE, CELL = 96, 0.12  # arcsec
ARRAY = {"antennas": 20, "integrations": 20}
IMAGING = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data"}
CLEAN = {"weighting": "briggs", "niter": 20000, "nsigma": 3.0, "scales": [0, 4, 12]}

FALLING, RISING = Source(0.3, 1.2, 0.9, 0.35, index=-0.7), Source(0.6, -1.0, 0.0, 0.5, index=1.0)
CHANNELS, CONTINUUM = 12, Source(0.15, -1.0, -1.0, 0.3)


def line(channel: int) -> tuple[Source, ...]:
    """A source that crosses the field, brightest in the middle of the line."""
    offset = (channel - 5.5) / 3
    return (Source(float(np.exp(-(offset**2) / 2)), offset, 0.5, 0.4),) if 1 < channel < 10 else ()


def image_of(sources: tuple[Source, ...]) -> NDArray[np.float64]:
    """(ny, nx), Jy/pixel."""
    north, west = (np.indices((IMSIZE, IMSIZE)) - IMSIZE // 2) * CELL
    total = np.zeros((IMSIZE, IMSIZE))
    for source in sources:
        image = np.exp(-((west + source.east) ** 2 + (north - source.north) ** 2) / (2 * source.size**2))
        total += source.flux * image / image.sum()
    return total


def compare_cube(work: Path, name: str, **components: Any) -> list[str]:
    """A row: errors, coverage and time of a cube beside CLEAN's."""
    ours = work / name.replace(" ", "_")
    clean = work / f"{ours.name}_clean"
    cube = {"vis": str(work / "line.ms"), "specmode": "cubedata", **IMAGING}
    _, seconds = timed(resolveimage, imagename=str(ours), **cube, **components)
    _, clean_seconds = timed(tclean, imagename=str(clean), deconvolver="multiscale", **cube, **CLEAN)
    beam = read_beam(f"{clean}.image")
    assert beam is not None
    width = np.sqrt(beam.major * beam.minor / (8 * np.log(2))) / CELL
    truth = np.array([image_of((CONTINUUM, *line(channel))) for channel in range(CHANNELS)])
    truth *= read_image(f"{clean}.pb")[:, 0]

    def error(imagename: Path) -> float:
        model = read_image(f"{imagename}.model")[:, 0]
        smooth = [gaussian_filter(each, (0, width, width)) for each in (model - truth, truth)]
        return float(np.linalg.norm(smooth[0]) / np.linalg.norm(smooth[1]))

    model, uncertainty = (read_image(f"{ours}.{kind}")[:, 0] for kind in ("model", "uncertainty"))
    bright = truth > 0.02 * truth.max()
    deviation = (np.abs(model - truth) / uncertainty)[bright]
    row = [name, f"{error(ours):.4f}", f"{error(clean):.4f}"]
    row += [f"{np.mean(deviation < times):.2f}" for times in (1, 2)]
    if components:
        found = read_image(f"{ours}.continuum")[:, 0].sum(axis=(1, 2))
        row.append(f"{found.mean():.3f}, {CONTINUUM.flux:.3f}")
    else:
        row.append("")
    return [*row, f"{seconds:.0f}", f"{clean_seconds:.0f}"]


def compare_indices(work: Path) -> Iterator[list[str]]:
    """A row for each source: the spectral index at its peak, and what is said of its error."""
    vis, ours, clean = work / "band.ms", work / "index", work / "index_clean"
    simulate(vis, sources=(FALLING, RISING), channels=8, channel_width=6e9, sigma=0.4, **ARRAY)
    terms = {"vis": str(vis), "deconvolver": "mtmfs", "nterms": 2, **IMAGING}
    resolveimage(imagename=str(ours), **terms)
    tclean(imagename=str(clean), **terms, **CLEAN)
    for source in (FALLING, RISING):
        x, y = (IMSIZE // 2 + round(offset / CELL) for offset in (-source.east, source.north))
        found = [
            [read_image(f"{name}.{kind}")[0, 0, y, x] for kind in ("alpha", "alpha.error")] for name in (ours, clean)
        ]
        yield [f"{source.index:.1f}", *(f"{index:.2f} ± {error:.2f}" for index, error in found)]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print_table(("spectral index", "resolveimage", "tclean"), compare_indices(work))
        line_ms = simulate(work / "line.ms", sources=(), channels=CHANNELS, channel_width=1e6, sigma=0.3, **ARRAY)
        add_to_channels(line_ms, lambda channel: (CONTINUUM, *line(channel)))
        columns = ("cube", "error at the beam", "CLEAN's", "within 1 sigma", "within 2 sigma")
        columns += ("continuum found, true [Jy]", "resolveimage [s]", "tclean [s]")
        kinds: tuple[tuple[str, dict[str, Any]], ...] = (
            ("line", {}),
            ("line and continuum", {"components": ["continuum"]}),
        )
        print()
        print_table(columns, (compare_cube(work, name, **components) for name, components in kinds))


if __name__ == "__main__":
    main()
