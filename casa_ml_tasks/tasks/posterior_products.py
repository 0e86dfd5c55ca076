"""What a posterior leaves on disk besides the model, which is its mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.data_model import DataModel
from casa_ml_tasks.data.casa_image import write_image, write_samples
from casa_ml_tasks.data.text_table import write_table
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.minor.resolve.composition import SPECTRAL_INDEX
from casa_ml_tasks.minor.resolve.posterior import LOWER, UPPER, Posterior


def write_posterior_products(major: MajorCycle, posterior: Posterior | None, data_model: DataModel | None) -> None:
    """Write the images and tables of the posterior, if there is one, and of the noise along baseline length."""
    if posterior is not None:
        _write_posterior(major, posterior)
    if data_model is not None and data_model.noise.uvdist.size:
        _write_noise(major, data_model)


def _write_posterior(major: MajorCycle, posterior: Posterior) -> None:
    like = major.product("residual")
    for term in range(major.terms or 1):
        some = np.s_[term : term + 1] if major.terms else np.s_[:]
        write_image(major.product("uncertainty", term), posterior.uncertainty[some], like, "Jy/pixel")
        write_samples(major.product("samples", term), posterior.samples[:, some], like, "Jy/pixel")
    if posterior.points is not None:
        write_image(major.product("points"), posterior.points, like, "Jy/pixel")
    for name, samples in posterior.components.items():
        _write_component(major, name, samples, posterior)
    if (spectrum := posterior.power_spectrum) is not None:
        write_table(
            major.product("powerspectrum"),
            {
                "frequency": spectrum.frequency,
                "median": spectrum.median,
                "lower": spectrum.lower,
                "upper": spectrum.upper,
            },
            [
                "Power spectrum of the logarithm of the sky, inferred with it.",
                f"frequency: cycles/arcsec; median and {LOWER:g}th and {UPPER:g}th percentile: arcsec^2.",
            ],
        )


def _write_component(major: MajorCycle, name: str, samples: NDArray[np.floating], posterior: Posterior) -> None:
    """Mean and standard deviation; spectral indices where there is something to have one."""
    like, component = major.product("residual"), replace(posterior, samples=samples)
    if name == SPECTRAL_INDEX:
        known = np.isfinite(posterior.relative_uncertainty[:1])
        write_image(major.product(name), np.where(known, component.mean, np.nan), like, "")
        write_image(major.product(f"{name}.error"), np.where(known, component.uncertainty, np.nan), like, "")
    else:
        write_image(major.product(name), component.mean, like, "Jy/pixel")
        write_image(major.product(f"{name}.uncertainty"), component.uncertainty, like, "Jy/pixel")


def _write_noise(major: MajorCycle, data_model: DataModel) -> None:
    write_table(
        major.product("noise"),
        {"uvdist": data_model.noise.uvdist, "factor": data_model.noise.curve},
        [
            "Noise of the visibilities along baseline length, found with the image.",
            "uvdist: wavelengths; factor: times the noise of the data; linear in the logarithms in between.",
        ],
    )
