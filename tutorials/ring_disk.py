"""Tutorial: how large, how wide and how tilted is the ring of a protoplanetary disk, and how sure are we?

    python tutorials/ring_disk.py [--figure docs/ring_disk.png]

An observation is simulated: a star that is a point at this resolution, an inclined ring of dust, noise. Then the model
is fitted as if the truth were not known, and every parameter comes out with its uncertainty.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

from casa_ml_tasks.parametric import Component, Observation, Point, Posterior, Ring, fit, predict

TRUTH = {
    "star": Point(flux=0.004, east=0.02, north=-0.01),
    "dust": Ring(flux=0.25, radius=0.42, width=0.16, inclination=38.0, position_angle=64.0, east=0.02, north=-0.01),
}
SIGMA = 0.01  # Jy, of the real and of the imaginary part of a visibility
ANTENNAS = 30
INTEGRATIONS = 4
LONGEST = 6e5  # wavelengths

# What is known before: orders of magnitude for what must be positive, and half a turn for the position angle. Its range
# should not end where the answer lies, for -26 and 154 degrees are the same ellipse.
MODEL: dict[str, Component] = {
    "star": Point(flux=dist.HalfNormal(0.05), east=dist.Normal(0, 0.1), north=dist.Normal(0, 0.1)),
    "dust": Ring(
        flux=dist.LogUniform(0.01, 10),
        radius=dist.Uniform(0.05, 2),
        width=dist.HalfNormal(0.3),
        inclination=dist.Uniform(0, 85),
        position_angle=dist.Uniform(-26, 154),
        east=dist.Normal(0, 0.1),
        north=dist.Normal(0, 0.1),
    ),
}


def simulate(seed: int = 1) -> Observation:
    """What an array of antennas at random places would measure, while the Earth turns it by ten degrees at a time."""
    rng = np.random.default_rng(seed)
    antennas = rng.normal(0, LONGEST / 5, (ANTENNAS, 2))
    first, second = np.triu_indices(ANTENNAS, 1)
    angles = np.radians(10 * np.arange(INTEGRATIONS))
    turned = (antennas[first] - antennas[second]) @ np.array(
        [[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]
    ).transpose(2, 0, 1)
    u, v = turned.reshape(-1, 2).T
    noise = SIGMA * (rng.normal(size=u.size) + 1j * rng.normal(size=u.size))
    return Observation(u, v, predict(TRUTH, u, v) + noise, np.full(u.size, SIGMA**-2))


def show(posterior: Posterior, path: Path) -> None:
    """The mean sky, and the posterior of each parameter of the ring with the truth as a line."""
    names = [name for name in posterior.samples if name.startswith("dust.")]
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.6), layout="constrained")
    half = 0.8
    image = posterior.image(160, 2 * half / 160)
    axes[0, 0].imshow(image, origin="lower", extent=(half, -half, -half, half), cmap="inferno")
    axes[0, 0].set(title="mean sky", xlabel="East [arcsec]", ylabel="North [arcsec]")
    for axis, name in zip(axes.flat[1:], names, strict=True):
        parameter = name.removeprefix("dust.")
        axis.hist(posterior.samples[name], bins=40, histtype="stepfilled", color="steelblue")
        axis.axvline(getattr(TRUTH["dust"], parameter), color="black")
        axis.locator_params(axis="x", nbins=3)
        axis.set(title=parameter.replace("_", " "), yticks=[])
    figure.savefig(path, dpi=64)


def main() -> None:
    """Simulate, fit, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--figure", type=Path, default=Path("ring_disk.png"), help="where the figure is written")
    figure = parser.parse_args().figure
    observation = simulate()
    print(f"{observation.u.size} visibilities, longest baseline {np.hypot(observation.u, observation.v).max():.3g}")
    posterior = fit(observation, MODEL)
    print(posterior)
    show(posterior, figure)
    print(f"Figure: {figure}")


if __name__ == "__main__":
    main()
