"""Tutorial: one image of a cloud from a 12 m mosaic, a 7 m mosaic and a total-power map.

    python tutorials/joint_mosaic.py [--figure docs/images/joint_mosaic.png]

A cloud that is larger than the mosaic is simulated as ALMA's two arrays and a single dish observe it. Then it is imaged
as if the truth were not known: first from the visibilities alone, then from all three data sets at once.
"""

import argparse
import tempfile
from contextlib import chdir
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.patches import Ellipse

from casa_ml_tasks import jointdeconv
from casa_ml_tasks.data.casa_image import Beam, read_beam, read_image
from casa_ml_tasks.simulation import SkyImage, hexagon, observe_mosaic, observe_total_power

CELL = 0.5  # arcsec, of the sky and of the image
WIDTH = 256  # pixels of the sky, which is wider than the mosaic
IMSIZE = 144  # pixels of the image
FLUX = 25.0  # Jy
FREQUENCY = 230e9  # Hz
TP_BEAM, TP_CELL, TP_PIXELS = 26.7, 3.0, 60  # of the total-power map: arcsec, arcsec, pixels a side


def cloud(seed: int = 2) -> np.ndarray:
    """A cloud with structure on all scales and a few cores: (y, x), Jy/pixel."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(WIDTH)]))
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(WIDTH, WIDTH))) * frequency**-1.6).real
    y, x = np.indices((WIDTH, WIDTH)) - WIDTH // 2
    gas = np.exp(field / field.std() - 0.5 * (np.hypot(x, y) / (0.2 * WIDTH)) ** 2)
    places = rng.normal(0, 0.08 * WIDTH, (6, 2))
    cores = sum(np.exp(-0.5 * ((x - west) ** 2 + (y - north) ** 2) / 1.5**2) for west, north in places)
    sky = gas + gas.max() * cores
    return FLUX * sky / sky.sum()


def observe(sky: SkyImage) -> None:
    """What the 12 m array, the 7 m array and a single dish measure, in the current directory."""
    observe_mosaic(
        "12m.ms", sky, configuration="alma.cycle9.1", pointings=hexagon(1, 12.0, FREQUENCY), sigma=0.04, visits=2
    )
    observe_mosaic(
        "7m.ms", sky, configuration="aca.cycle9", pointings=hexagon(1, 7.0, FREQUENCY)[::3], sigma=0.1, visits=20
    )
    observe_total_power("tp.image", sky, beam=TP_BEAM, cell=TP_CELL, npix=TP_PIXELS, sigma=0.02)


def smoothed(image: np.ndarray, beam: Beam) -> np.ndarray:
    """The image convolved with the beam: (y, x), Jy/pixel to Jy/beam."""
    ny, nx = image.shape
    v, u = np.meshgrid(np.fft.fftfreq(2 * ny, CELL), np.fft.fftfreq(2 * nx, CELL), indexing="ij")
    angle = np.radians(beam.angle)
    major, minor = v * np.cos(angle) - u * np.sin(angle), v * np.sin(angle) + u * np.cos(angle)
    taper = np.exp(-(np.pi**2) / (4 * np.log(2)) * ((major * beam.major) ** 2 + (minor * beam.minor) ** 2))
    return np.fft.ifft2(np.fft.fft2(image, s=taper.shape) * taper).real[:ny, :nx] * beam.area(CELL)


def show(
    total_power: np.ndarray, panels: dict[str, np.ndarray], beam: Beam, primary_beam: np.ndarray, path: Path
) -> None:
    """The map of the dish, and the images in one scale, with the edge of the mosaic and the beams."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.5), layout="constrained", sharex=True, sharey=True)
    half, half_map = (width / 2 for width in (CELL * IMSIZE, TP_CELL * TP_PIXELS))
    brightest = 1e3 * max(image.max() for image in panels.values())
    norm = AsinhNorm(brightest / 8, 0, brightest)
    axes[0].imshow(total_power, origin="lower", extent=(half_map, -half_map, -half_map, half_map), cmap="inferno")
    axes[0].set(title="total power", xlim=(half, -half), ylim=(-half, half), ylabel="North [arcsec]")
    axes[0].add_patch(Ellipse((0.6 * half, -0.6 * half), TP_BEAM, TP_BEAM, fill=False, color="white"))
    for axis, (title, image) in zip(axes[1:], panels.items(), strict=True):
        drawn = axis.imshow(1e3 * image, origin="lower", extent=(half, -half, -half, half), cmap="inferno", norm=norm)
        axis.add_patch(Ellipse((0.85 * half, -0.85 * half), beam.minor, beam.major, angle=-beam.angle, color="white"))
        axis.set(title=title)
    for axis in axes:
        axis.contour(primary_beam, [0.3], colors="white", linewidths=0.6, extent=(half, -half, -half, half))
        axis.set(xlabel="East [arcsec]")
    ticks = [0, 5, 10, 20, 40, 80]
    figure.colorbar(
        drawn, ax=axes, label="mJy/beam", ticks=[tick for tick in ticks if tick < brightest], format="%d", shrink=0.7
    )
    figure.savefig(path, dpi=75)


def main() -> None:
    """Simulate, image, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--figure", type=Path, default=Path("joint_mosaic.png"), help="where the figure is written")
    figure = parser.parse_args().figure.resolve()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        sky = SkyImage(cloud()[None], CELL, frequency=FREQUENCY)
        observe(sky)
        imaging = {
            "vis": ["12m.ms", "7m.ms"],
            "imsize": IMSIZE,
            "cell": f"{CELL}arcsec",
            "phasecenter": sky.phasecenter,
            "datacolumn": "data",
        }
        jointdeconv(imagename="interferometer", **imaging)
        jointdeconv(imagename="joint", sdimage="tp.image", **imaging)

        beam, primary_beam = read_beam("joint.image"), read_image("joint.pb")[0, 0]
        first = (WIDTH - IMSIZE) // 2
        middle = np.s_[first : first + IMSIZE, first : first + IMSIZE]
        skies = {name: read_image(f"{name}.model")[0, 0].astype(float) for name in ("interferometer", "joint")}
        inside = primary_beam > 0.3
        print("Flux inside the mosaic [Jy]")
        for name, model in {"truth": sky.pixels[0][middle], **skies}.items():
            print(f"{name:16}{model[inside].sum():.2f}")
        panels = {
            "12 m + 7 m": smoothed(skies["interferometer"], beam),
            "12 m + 7 m + total power": smoothed(skies["joint"], beam),
            "truth": smoothed(sky.pixels[0], beam)[middle],
        }
        show(read_image("tp.image")[0, 0], panels, beam, primary_beam, figure)
    print(f"Figure: {figure}")


if __name__ == "__main__":
    main()
