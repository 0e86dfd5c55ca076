"""The sky that explains pointings and maps together: rounds of images and of what is fitted to the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from casa_ml_tasks.calibration.data_steps import DataSteps
from casa_ml_tasks.calibration.flux_scale import FluxScales
from casa_ml_tasks.calibration.flux_scale_step import FluxScaleStep
from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.data.casa_image import is_casa_image, read_image
from casa_ml_tasks.data.healpix import read_healpix
from casa_ml_tasks.data.projections import HEALPIX
from casa_ml_tasks.data.skies import TABLE
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.alternation import Alternation, DataStep, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image, MinorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks import imaging
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.inference_warnings import judged
from casa_ml_tasks.tasks.joint_call import JointCall
from casa_ml_tasks.tasks.joint_flux_scales import JointFluxScales
from casa_ml_tasks.tasks.joint_minor_cycles import most_probable_sky
from casa_ml_tasks.tasks.joint_resolve_minor_cycle import joint_resolve_minor_cycle
from casa_ml_tasks.tasks.joint_sky import embedded
from casa_ml_tasks.tasks.resolve_minor_cycle import has_begun
from casa_ml_tasks.tasks.single_dish_data import DishData


@dataclass(frozen=True)
class JointSolution:
    """The sky of all data, before it is written.

    Attributes:
        progress: how the last round ended, with the records of all rounds.
        steps: what was fitted to the visibilities.
        sets: the data sets, as they were imaged.
        scales: of the data sets.
        posterior: of the sky; None where the most probable sky was asked for.
    """

    progress: Progress
    steps: DataSteps
    sets: JointFluxScales
    scales: FluxScales
    posterior: Posterior | None


def solution_of(major: SkyMosaic, call: JointCall, on_sky: JointCall, context: Context) -> JointSolution:
    """Find the most probable sky in rounds, each with the noise and flux scales that the last has led to.

    The posterior, where it is asked for, is that of the data of the last round.
    """
    start = context.interrupted or Progress(_first_sky(major, call, context.workspace))

    def most_probable(maps: Sequence[DishData]) -> MinorCycle:
        shape = call.request.grid.shape
        return most_probable_sky(major, maps, steps.errors.noise, call.regularisation, shape)

    def solve(rounds: Alternation, minor: MinorCycle) -> None:
        imaging.run_round(rounds, major, minor, _exit_criteria(call.request, steps.errors.noise), context.checkpoint)

    sets = JointFluxScales(
        major, on_sky.data_of_maps(), most_probable, call.request.noise.scale_or(context.survey.noise_scale)
    )
    fluxes = FluxScaleStep(sets.names, sets.compare, sets.divide, (start.calibration or {}).get("flux_scale"))
    steps = imaging.begin_data_steps(major, on_sky, replace(context, interrupted=start))
    corrections: list[DataStep] = [fluxes] if call.fits_fluxes else []
    rounds = Alternation([*corrections, *steps.in_order], steps.start)
    infers = call.inference is not None and not call.request.stopping.dirty_only
    while not rounds.settled and not (infers and has_begun(rounds.start.state)):
        solve(rounds, most_probable(sets.divided_maps))
    if call.inference is None or not infers:
        progress, posterior = with_all_records(rounds.rounds), None
    else:
        inferred = Alternation([], rounds.start)
        minor = joint_resolve_minor_cycle(major, sets.divided_maps, steps.errors.noise, call.inference)
        solve(inferred, minor)
        posterior = minor.posterior(inferred.rounds[-1].state)
        progress = judged(with_all_records([*rounds.rounds, *inferred.rounds]), posterior)
    scales = fluxes.scales or sets.compare(progress.model).after(sets.factors)
    return JointSolution(progress, steps, sets, scales, posterior)


def _exit_criteria(request: Request, noise: Image) -> ExitCriteria:
    """Return the criteria of the end: convergence, or the number of major cycles. noise: (channel, 1), Jy/beam."""
    niter = 0 if request.stopping.dirty_only else -1
    return ExitCriteria(niter=niter, nmajor=request.stopping.nmajor, noise=typical(noise))


def _first_sky(major: SkyMosaic, call: JointCall, workspace: Workspace) -> Image:
    """Return the sky to begin with: from `startmodel`, that of a finished run, or an empty one."""
    shape, startmodel = major.sky_shape, list(call.request.output.startmodel)
    if call.projection == HEALPIX:
        return _sky_in_healpix(workspace.product(f"sky{TABLE}"), shape)
    earlier = [workspace.product("sky"), workspace.product("model")]
    sources = startmodel or [str(path) for path in earlier if is_casa_image(path)][:1]
    if not sources:
        return np.zeros(shape, np.float32)
    model, image_shape = read_image(sources[0]), (*shape[:2], *call.request.grid.shape)
    if model.shape not in (shape, image_shape):
        raise ValueError(
            f"{sources[0]} has {model.shape} channels, Stokes planes, rows and columns, but the image asked for has "
            f"{image_shape}; regrid it with imregrid, or use restart=False and no startmodel"
        )
    return model if model.shape == shape else embedded(model, (shape[-2], shape[-1]))


def _sky_in_healpix(path: Path, shape: tuple[int, ...]) -> Image:
    """Return that of a finished run with the same pixels, or an empty one, (channel, 1, ny, nx)."""
    if path.exists():
        _, pixels = read_healpix(path)
        if (len(pixels), 1, *pixels.shape[1:]) == shape:
            return pixels[:, None]
    return np.zeros(shape, np.float32)
