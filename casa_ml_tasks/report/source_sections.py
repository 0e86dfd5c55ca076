"""The sections of a report on sources: where they are, their spectra, how far they can be trusted, what is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from astropy.table import Row
from matplotlib.figure import Figure

from casa_ml_tasks.quantities import measurement, with_error
from casa_ml_tasks.report.section import Drawing, Section, Table
from casa_ml_tasks.report.source_content import SourceContent
from casa_ml_tasks.report.source_figures import (
    draw_probabilities,
    draw_probability_map,
    draw_source_map,
    draw_source_residual,
    draw_true_numbers,
    draw_truth,
)
from casa_ml_tasks.report.spectra_figure import MOST, draw_spectra

CAPTIONS: Mapping[str, str] = {
    "source_map": "Dirty image of all channels together, with the sidelobes of the PSF. Boxes enclose the 2-sigma "
    "ellipses of the sources; numbers are those of the catalogue.",
    "source_residual": "What is left of it when the sources are subtracted through the PSF. Structure here is emission "
    "that is no Gaussian, or an error of calibration.",
    "probability_map": "Where the network sees centres of sources at its first look, before the fit.",
    "spectra": "Flux of each source's shape in every channel (blue), the error of a channel (grey), the continuum "
    "(dotted) and the channels of lines (orange) with their signal-to-noise ratio. Sources with lines come first.",
    "probabilities": "Probability that each source that is listed is real. With a table of true sources, "
    "points say which share of a bin is true: they lie on the line where probabilities are right.",
    "truth": "True and found sources as their 2-sigma ellipses.",
    "true_numbers": "Axes and continuum of the sources that were found, against the true ones. The line is equality.",
}
MOST_ROWS = 200  # of the table


def source_sections(content: SourceContent) -> list[Section]:
    """Return the sections; figures that would be empty are left out."""

    def drawing(name: str, draw: Callable[[SourceContent], Figure]) -> Drawing:
        return Drawing(name, CAPTIONS[name], partial(draw, content))

    maps = [drawing("source_map", draw_source_map), drawing("source_residual", draw_source_residual)]
    sections = [Section("Sources", _sentences(content), maps, _source_table(content))]
    if len(content.channels) > 1 and len(content.sources):
        spectra = [drawing("spectra", draw_spectra)]
        sections.append(Section("Spectra", _spectra_sentences(content), spectra, _line_table(content), "first_alone"))
    trust = [drawing("probabilities", draw_probabilities), drawing("probability_map", draw_probability_map)]
    sections.append(Section("How probable are they?", figures=trust))
    if content.matches is not None:
        true = [drawing("truth", draw_truth), drawing("true_numbers", draw_true_numbers)]
        sections.append(Section("Truth beside what was found", [_truth_sentence(content)], true))
    return sections


def _sentences(content: SourceContent) -> list[str]:
    count = len(content.sources)
    found = "No source was found." if count == 0 else f"{count} source{'s were' if count > 1 else ' was'} found."
    flags = [f"{flag[0].upper()}{flag[1:]}." for flag in content.field_flags]
    return [found, *flags]


def _spectra_sentences(content: SourceContent) -> list[str]:
    if len(content.sources) <= MOST:
        return []
    return [f"The spectra of {MOST} sources of {len(content.sources)} are shown; all are in the catalogue."]


def _truth_sentence(content: SourceContent) -> str:
    matches = content.matches
    assert matches is not None
    true = len(matches.true) + len(matches.missed)
    return (
        f"{len(matches.true)} of {true} true sources were found within half a beam, and {len(matches.unknown)} of the "
        f"{len(content.sources)} sources that were found are not true."
    )


def _source_table(content: SourceContent) -> Table | None:
    if not len(content.sources):
        return None
    longitude, latitude = content.sources.colnames[2:4]
    columns = (
        *("", "name", f"{longitude} (deg)", f"{latitude} (deg)", "FWHM (arcsec)", "by", "PA (deg)", "flux"),
        *("continuum", "lines", "S/N", "probability", "flags"),
    )
    return Table(columns, [_row(row, longitude, latitude) for row in content.sources[:MOST_ROWS]])


def _row(row: Row, longitude: str, latitude: str) -> tuple[str, ...]:
    return (
        str(row["id"]),
        str(row["name"]),
        f"{row[longitude]:.6f}",
        f"{row[latitude]:+.6f}",
        with_error(float(row["major"]), float(row["major_err"])),
        with_error(float(row["minor"]), float(row["minor_err"])),
        with_error(float(row["pa"]), float(row["pa_err"])),
        _measured(row, "flux", "Jy"),
        _measured(row, "continuum", "Jy"),
        str(row["lines"]),
        f"{row['snr']:.1f}",
        f"{row['probability']:.2f}",
        str(row["flags"]).replace(",", ", "),
    )


def _line_table(content: SourceContent) -> Table | None:
    if not len(content.lines):
        return None
    columns = ("source", "frequency (GHz)", "velocity (km/s)", "FWHM (km/s)", "flux", "S/N", "probability", "kind")
    rows = [
        (
            str(line["id"]),
            with_error(line["frequency"] / 1e9, line["frequency_err"] / 1e9),
            _known(line["velocity"], line["velocity_err"]),
            _known(line["fwhm"], line["fwhm_err"]),
            _measured(line, "flux", "Jy km/s") if np.isfinite(line["flux"]) else "no rest frequency",
            f"{line['snr']:.1f}",
            f"{line['probability']:.2f}",
            str(line["kind"]),
        )
        for line in content.lines[:MOST_ROWS]
    ]
    return Table(columns, rows)


def _measured(row: Row, name: str, unit: str) -> str:
    return measurement(float(row[name]), float(row[f"{name}_err"]), unit)


def _known(value: float, error: float) -> str:
    return with_error(float(value), float(error)) if np.isfinite(value) else "no rest frequency"
