"""Fit simple shapes to visibilities and return the posterior of their parameters.

import numpyro.distributions as dist
from casa_ml_tasks.parametric import Ring, fit, read_observation

observation = read_observation("my.ms", field_radius=2)
ring = Ring(flux=dist.LogUniform(0.01, 10), radius=dist.Uniform(0.1, 2), width=dist.HalfNormal(0.2))
print(fit(observation, ring))
"""

try:
    import numpyro  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("casa_ml_tasks.parametric needs numpyro: pip install numpyro") from error

from casa_ml_tasks.parametric.components import (
    Component,
    Disk,
    Gaussian,
    Point,
    RadialProfile,
    Ring,
    VisibilityFunction,
)
from casa_ml_tasks.parametric.fitting import fit
from casa_ml_tasks.parametric.observation import Observation, read_observation
from casa_ml_tasks.parametric.posterior import Convergence, Estimate, Posterior
from casa_ml_tasks.parametric.sky_model import predict

__all__ = [
    "Component",
    "Convergence",
    "Disk",
    "Estimate",
    "Gaussian",
    "Observation",
    "Point",
    "Posterior",
    "RadialProfile",
    "Ring",
    "VisibilityFunction",
    "fit",
    "predict",
    "read_observation",
]
