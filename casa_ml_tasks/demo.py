"""From raw visibilities to an image: real VLA data of NGC 5921, calibrated with casatasks, imaged with rmlclean.

    python -m casa_ml_tasks.demo [--directory demo]

The observation (VLA, D configuration, 13 April 1995) comes with casadata, so nothing is downloaded: 3C 286
(1331+305) to set the flux scale and the bandpass, 1445+099 to follow the gains, and the galaxy, in 63 channels of
24 kHz around the 21 cm line of hydrogen. The demo images the continuum sources of the field, from the channels
without line emission.
"""

import argparse
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import casadata
from casaconfig import config

if __name__ == "__main__":
    config.logfile = os.devnull  # until there is a folder for it

from casatasks import (
    applycal,
    bandpass,
    casalog,
    flagdata,
    fluxscale,
    gaincal,
    imhead,
    importuvfits,
    imstat,
    setjy,
    split,
)

from casa_ml_tasks import rmlclean

RAW_DATA = Path(casadata.datapath) / "demo" / "NGC5921.fits"
FLUX_CALIBRATOR = "1331+305*"
GAIN_CALIBRATOR = "1445+099*"
TARGET = "N5921_2"
REFERENCE_ANTENNA = "VA15"
INNER_CHANNELS = "0:6~56"
LINE_FREE_CHANNELS = "0:4~6;50~59"
PLAUSIBLE_FLUX = (2.3, 2.7)
MAD_TO_SIGMA = 1.4826
MARKER = ".casa_ml_tasks_demo"


@dataclass(frozen=True)
class CalibrationTables:
    """Paths of the solutions that applycal multiplies together."""

    bandpass: Path
    gains: Path


def start_afresh(directory: Path) -> None:
    """Empty the folder of an earlier demo, so that every run gives the same; never anybody else's folder.

    Raises:
        FileExistsError: the folder holds something and no demo has made it.
    """
    if directory.exists():
        if any(directory.iterdir()) and not (directory / MARKER).exists():
            raise FileExistsError(
                f"directory='{directory}' holds files that are not from this demo; name a new or an empty folder."
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    (directory / MARKER).touch()
    casalog.setlogfile(str(directory / "casa.log"))


def import_visibilities(directory: Path) -> Path:
    """Turn the UVFITS file into a Measurement Set, without autocorrelations: they hold the receivers' noise power."""
    vis = directory / "ngc5921.ms"
    importuvfits(fitsfile=str(RAW_DATA), vis=str(vis), antnamescheme="new")
    flagdata(vis=str(vis), mode="manual", autocorr=True, flagbackup=False)
    return vis


def set_flux_scale(vis: Path) -> None:
    """Put the known flux density and shape of 3C 286 into the data: all other flux densities hang on it."""
    setjy(vis=str(vis), field=FLUX_CALIBRATOR, standard="Perley-Butler 2017", model="3C286_L.im", usescratch=False)


def solve_bandpass(vis: Path) -> Path:
    """Solve for the response over frequency, on the brightest source and once: it hardly changes with time."""
    table = vis.with_suffix(".bandpass")
    bandpass(
        vis=str(vis),
        caltable=str(table),
        field=FLUX_CALIBRATOR,
        solint="inf",
        refant=REFERENCE_ANTENNA,
        fillgaps=3,
    )
    return table


def solve_gains(vis: Path, bandpass_table: Path) -> Path:
    """Solve for every antenna's gain, scan by scan, with the band's poor edges left out."""
    table = vis.with_suffix(".gains")
    gaincal(
        vis=str(vis),
        caltable=str(table),
        field=f"{FLUX_CALIBRATOR},{GAIN_CALIBRATOR}",
        spw=INNER_CHANNELS,
        gaintype="G",
        solint="inf",
        refant=REFERENCE_ANTENNA,
        gaintable=[str(bandpass_table)],
    )
    return table


def transfer_flux_scale(vis: Path, gain_table: Path) -> tuple[Path, float]:
    """Scale the gains found on 1445+099, whose flux density was unknown, to those found on 3C 286.

    Returns:
        The scaled gain table and the flux density of 1445+099, Jy.

    Raises:
        ValueError: the flux density is not what it was in 1995, so the calibration has gone wrong.
    """
    table = vis.with_suffix(".fluxscaled")
    result = fluxscale(
        vis=str(vis),
        caltable=str(gain_table),
        fluxtable=str(table),
        reference=FLUX_CALIBRATOR,
        transfer=GAIN_CALIBRATOR,
    )
    (flux,) = (
        float(entry["0"]["fluxd"][0]) for entry in result.values() if isinstance(entry, dict) and "fieldName" in entry
    )
    lowest, highest = PLAUSIBLE_FLUX
    if not lowest < flux < highest:
        raise ValueError(
            f"1445+099 came out at {flux:.2f} Jy where {lowest} to {highest} Jy are plausible; "
            f"look for bad solutions in '{gain_table}'."
        )
    return table, flux


def calibrate(vis: Path) -> tuple[CalibrationTables, float]:
    """Solve for bandpass and gains; return the solutions and the flux density of 1445+099, Jy."""
    set_flux_scale(vis)
    bandpass_table = solve_bandpass(vis)
    gain_table, flux = transfer_flux_scale(vis, solve_gains(vis, bandpass_table))
    return CalibrationTables(bandpass_table, gain_table), flux


def split_target(vis: Path, tables: CalibrationTables) -> Path:
    """Correct the galaxy with the gains of its neighbour 1445+099, interpolated in time, and put it in its own file."""
    applycal(
        vis=str(vis),
        field=TARGET,
        gaintable=[str(tables.gains), str(tables.bandpass)],
        gainfield=[GAIN_CALIBRATOR, FLUX_CALIBRATOR],
        interp=["linear", "nearest"],
        calwt=False,
        flagbackup=False,
    )
    target = vis.with_name("ngc5921_target.ms")
    split(vis=str(vis), outputvis=str(target), field=TARGET, datacolumn="corrected")
    return target


def image_continuum(vis: Path) -> tuple[Path, float]:
    """Image the channels on both sides of the line.

    Returns:
        The image name that the products share and the noise that the data lead to expect, Jy/beam.
    """
    imagename = vis.with_name("ngc5921_continuum")
    result = rmlclean(
        vis=str(vis),
        imagename=str(imagename),
        imsize=256,
        cell="15arcsec",
        spw=LINE_FREE_CHANNELS,
        datacolumn="data",
    )
    return imagename, result["image_noise"]


def describe(imagename: Path, expected_noise: float) -> list[str]:
    """What was made and how good it is, in plain lines."""
    image = f"{imagename}.image"
    beam = imhead(image)["restoringbeam"]
    peak = imstat(image)["max"][0]
    noise = MAD_TO_SIGMA * imstat(f"{imagename}.residual")["medabsdevmed"][0]
    report = Path(f"{imagename}.report")
    return [
        f"Products: {', '.join(path.name for path in sorted(imagename.parent.glob(imagename.name + '.*')))}",
        f"Beam:     {beam['major']['value']:.1f} x {beam['minor']['value']:.1f} arcsec",
        f"Peak:     {peak * 1e3:.1f} mJy/beam, {peak / noise:.0f} times the noise",
        f"Noise:    {noise * 1e3:.2f} mJy/beam in the residual image, {expected_noise * 1e3:.2f} expected",
        f"Picture:  {report / 'restored.png'}",
        f"Report:   {report / 'index.html'}",
        f"CASA log: {imagename.with_name('casa.log')}",
    ]


def main() -> None:
    """Run the demo and say on the way what is being done."""
    parser = argparse.ArgumentParser(
        prog="python -m casa_ml_tasks.demo", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--directory", type=Path, default=Path("demo"), help="where everything is written")
    directory = parser.parse_args().directory
    began = time.monotonic()

    try:
        start_afresh(directory)
    except FileExistsError as error:
        parser.error(str(error))
    print(f"Importing the raw VLA data {RAW_DATA.name} into {directory}/ ...", flush=True)
    print(
        "(Should CASA call its leap second table out of date: these data of 1995 do not need a newer one.)", flush=True
    )
    vis = import_visibilities(directory)
    print("Calibrating on 3C 286 and 1445+099 ...", flush=True)
    tables, flux = calibrate(vis)
    print(f"Flux density of 1445+099: {flux:.2f} Jy. Correcting and splitting off the target ...", flush=True)
    target = split_target(vis, tables)
    print(f"Imaging the line-free channels (spw='{LINE_FREE_CHANNELS}') with rmlclean ...", flush=True)
    imagename, expected_noise = image_continuum(target)
    print(f"Done in {time.monotonic() - began:.0f} s.\n")
    print("\n".join(describe(imagename, expected_noise)))


if __name__ == "__main__":
    main()
