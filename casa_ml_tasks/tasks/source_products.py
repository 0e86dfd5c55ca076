"""What is written of the sources that were found: images, catalogue, and the sources as the report shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from casa_ml_tasks.data.catalogue_files import write_casa_table, write_ecsv, write_fits
from casa_ml_tasks.data.source_images import write_cube, write_map
from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.sources.detection import probability_map
from casa_ml_tasks.sources.dirty_cube import DirtyCube
from casa_ml_tasks.sources.finder import Found
from casa_ml_tasks.sources.products import continuum_spectra, cube_of, line_spectra, mask_cube
from casa_ml_tasks.tasks.source_catalogue import Catalogue

#: Of the sources, beside the images of an imaging task.
PRODUCTS = (
    *(Product(name, is_rewritten=True) for name in ("continuum", "line", "mask", "probability")),
    *(Product(name, is_image=False) for name in ("catalog", "catalog.fits", "catalog.ecsv", "lines.ecsv")),
)

#: Says where a product of an extension goes.
Place = Callable[[str], Path]


def write_source_images(place: Place, template: Path, found: Found, cube: DirtyCube) -> None:
    """Write continuum, lines, mask and probability.

    Args:
        place: of the images.
        template: a CASA image with the pixels of the cube.
        found: the sources.
        cube: in which they were found.
    """
    write_cube(place("continuum"), cube_of(found, continuum_spectra(found)), template, "Jy/pixel")
    if found.spectral_fits is not None:
        write_cube(place("line"), cube_of(found, line_spectra(found)), template, "Jy/pixel")
    write_cube(place("mask"), mask_cube(found, cube), template, "")
    write_map(place("probability"), probability_map(found.proposal, cube.dirty.shape[1:]), template, "")


def write_catalogue(place: Place, catalogue: Catalogue) -> None:
    """Write the catalogue as CASA table, FITS tables and text."""
    tables = {"sources": catalogue.sources, "lines": catalogue.lines, "channels": catalogue.channels}
    write_casa_table(place("catalog"), tables)
    write_fits(place("catalog.fits"), tables)
    write_ecsv(place("catalog.ecsv"), catalogue.sources)
    write_ecsv(place("lines.ecsv"), catalogue.lines)
