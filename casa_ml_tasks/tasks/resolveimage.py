"""resolveimage: Bayesian imaging as a CASA task."""

from __future__ import annotations

from dataclasses import dataclass, replace

from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import read_cell
from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.engine.alternation import Alternation, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.inference import Inference
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks import imaging, resolve_minor_cycle
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.gridder import as_chosen, with_gridder
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.inference_memory import check_memory
from casa_ml_tasks.tasks.inference_parameters import without_clean
from casa_ml_tasks.tasks.inference_warnings import judged, warn_without_signal
from casa_ml_tasks.tasks.posterior_products import write_posterior_products
from casa_ml_tasks.tasks.posterior_result import with_posterior
from casa_ml_tasks.tasks.resolve_minor_cycle import has_begun
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.unused_parameters import lacking_in_inference, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import (
    warn_of_calibration,
    warn_of_end,
    warn_of_negative_sky,
    warn_of_wide_emission,
)

#: Of a sky with components, images of each.
COMPONENTS = tuple(
    Product(f"{name}{kind}", is_rewritten=True)
    for name in ("points", "emission", "absorption", "line", "continuum")
    for kind in ("", ".uncertainty")
)


@dataclass(frozen=True)
class InferenceCall(imaging.ImagingCall):
    """A call of resolveimage.

    Attributes:
        inference: what is inferred, and how far.
    """

    inference: Inference


@dataclass(frozen=True)
class Inferred:
    """What resolveimage has found.

    Attributes:
        imaged: the posterior mean.
        posterior: of all channels or terms; None where the dirty image was asked for alone.
    """

    imaged: Imaged
    posterior: Posterior | None


class Resolveimage:
    """Bayesian imaging.

    Beside what `Rmlclean` returns there are 'seed', and 'posterior': flux with its uncertainty (channel, stokes, Jy),
    samples, converged, problem (what has not, or ''), and one record a global iteration; without it where `niter=0`
    asks for the dirty image alone.
    """

    name = "resolveimage"
    products = (
        imaging.MODEL,
        *(Product(extension, is_rewritten=True) for extension in ("uncertainty", "samples")),
        *COMPONENTS,
        *imaging.IMAGES,
        *(Product(extension, is_image=False) for extension in ("powerspectrum", "noise")),
    )
    schemas = resolve_minor_cycle.SCHEMAS

    def read(self, arguments: Arguments) -> InferenceCall:
        """Check the parameters as the inference takes them, and choose the gridder."""
        inferred = without_clean(arguments, self.name)
        request, channels = with_gridder(Request.from_parameters(**inferred.values))
        warn_of_unused(self.name, as_chosen(arguments, request), lacking_in_inference)
        inference = Inference.from_parameters(request, **request.casa)
        check_images(request)
        return InferenceCall((request,), channels, inference)

    def check(self, call: InferenceCall) -> Survey:
        """Check the call against disk and data."""
        return imaging.check_call(call, self.name, call.inference.most_samples)

    def work(self, call: InferenceCall, context: Context) -> Inferred:
        """Infer in rounds; where a first image may tell of the data, sketches come before the inference."""
        request, inference, begun = call.request, call.inference, context.interrupted
        criteria = ExitCriteria(niter=0 if request.stopping.dirty_only else -1, nmajor=request.stopping.nmajor)
        with imaging.opened_major_cycle(call, context.workspace) as major:
            check_memory(major.shape, inference)
            steps = imaging.begin_data_steps(major, call, context)
            sketches = Alternation(steps.in_order, steps.start)
            if steps.may_change and not request.stopping.dirty_only and not (begun and has_begun(begun.state)):
                while not sketches.settled:
                    minor = resolve_minor_cycle.minor_cycle(major, steps.errors.noise, request, inference)
                    sketch_criteria = replace(criteria, noise=typical(steps.errors.noise))
                    sketch = minor.sketch()
                    imaging.run_round(sketches, major, sketch, sketch_criteria, context.checkpoint, may_end_early=True)
            rounds = Alternation(steps.in_order, sketches.start)
            while not rounds.settled:
                minor = resolve_minor_cycle.minor_cycle(major, steps.errors.noise, request, inference)
                imaging.run_round(rounds, major, minor, criteria, context.checkpoint)
            progress = with_all_records([*sketches.rounds, *rounds.rounds])
            warn_without_signal(progress.dirty, steps.errors.noise)
            posterior = minor.posterior(progress.state) if has_begun(progress.state) else None
            if posterior is not None:
                progress = judged(progress, posterior)
            major.finish(progress.model, request.output.restoration, request.output.pbcor)
            write_posterior_products(major, posterior, steps.data_model)
            major.predict(progress.model)
            return Inferred(imaging.imaged_by(major, steps, progress, context), posterior)

    def conclude(self, call: InferenceCall, context: Context, work: Inferred) -> TaskResult:
        """Warn of what the residual and the posterior tell; return what was found."""
        request, inference, workspace = call.request, call.inference, context.workspace
        imaged, posterior = work.imaged, work.posterior
        ending = imaging.ending_of(imaged, workspace)
        warn_of_end(imaged.progress, request.stopping.nmajor)
        positive = resolve_minor_cycle.is_positive(request, inference)
        warn_of_negative_sky(ending, positive, "components=['absorption']")
        warn_of_calibration(ending)
        if posterior is not None:
            warn_of_wide_emission(ending, read_cell(workspace.product("psf")))
        content = shown_plane(
            imaged,
            workspace,
            request,
            may_be_negative=inference.has_absorption,
            model_is_mean=posterior is not None,
        )
        result = imaging_result(imaged, content, request)
        result = replace(result, numbers={**result.numbers, "seed": inference.seed})
        if posterior is None:
            return result
        return with_posterior(result, content, posterior, imaged.brightest_channel)
