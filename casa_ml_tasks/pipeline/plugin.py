"""The stages as the pipeline's own classes. This module alone imports the pipeline, and `register` alone this module.

Classes stand at the top of the module and have a name each, because the pipeline pickles inputs and results; each stage
has inputs of its own, by which the pipeline finds the name of a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import pipeline.cli
from pipeline.domain import DataType
from pipeline.h.cli.utils import cli_wrapper
from pipeline.infrastructure import basetask, get_logger, imageheader, imagelibrary, pipelineqa, task_registry, vdp
from pipeline.infrastructure.jobrequest import JobRequest
from pipeline.infrastructure.renderer import basetemplates, qaadapter, weblog

import casa_ml_tasks
from casa_ml_tasks.pipeline.quality import scores_of
from casa_ml_tasks.pipeline.record import Outcome, images_of, record_of
from casa_ml_tasks.pipeline.stage import RESOLVEIMAGE, RMLCLEAN, Stage
from casa_ml_tasks.pipeline.target import PipelineTarget, call_of, identity_of, with_given
from casa_ml_tasks.pipeline.weblog import TEMPLATES, section_of

LOG = get_logger(__name__)
TEMPLATE = "hifx_imaging.mako"
#: Images that the exporter adds by itself to one that is primary beam corrected.
AUXILIARY = ("pb", "mask")


class ImagingInputs(vdp.StandardInputs):
    """Inputs of a stage. The targets are those of the context, as hif_makeimlist has left them."""

    processing_data_types: ClassVar = [
        DataType.SELFCAL_LINE_SCIENCE,
        DataType.REGCAL_LINE_SCIENCE,
        DataType.SELFCAL_CONTLINE_SCIENCE,
        DataType.REGCAL_CONTLINE_SCIENCE,
        DataType.REGCAL_CONTLINE_ALL,
        DataType.RAW,
    ]
    parameters = vdp.VisDependentProperty(default={})

    def __init__(self, context: Any, output_dir: Any = None, vis: Any = None, parameters: Any = None):
        """Say what is imaged and how.

        Args:
            context: of the pipeline.
            output_dir: of the pipeline; images are written into the working directory, as by hif_makeimages.
            vis: of the pipeline, which needs it; a target names its own Measurement Sets.
            parameters: of the task, such as {'regularizer': ['l1', 'tsv']}; the default is none.
        """
        self.context = context
        self.output_dir = output_dir
        self.vis = vis
        self.parameters = parameters


class RmlcleanInputs(ImagingInputs):
    """Inputs of hifx_rmlclean."""


class ResolveimageInputs(ImagingInputs):
    """Inputs of hifx_resolveimage."""


class ImagingResults(basetask.Results):
    """What a stage has made of its targets."""

    def __init__(self, stage: Stage, outcomes: Iterable[Outcome]):
        super().__init__()
        self.stage, self.outcomes = stage, list(outcomes)

    def merge_with_context(self, context: Any) -> None:
        """List the images for the exporter; the list of targets stays for hif_makeimages, which empties it."""
        for outcome in self.outcomes:
            identity = outcome.identity
            images = context.sciimlist if "TARGET" in identity.intent else context.calimlist
            for image in images_of(outcome, self.stage.task, self.stage.exported):
                item = imagelibrary.ImageItem(
                    imagename=image.imagename,
                    sourcename=identity.source,
                    spwlist=identity.spw,
                    specmode=identity.specmode,
                    sourcetype=identity.intent,
                    stokes=identity.stokes,
                    datatype=image.datatype,
                    imagename_prefix=identity.prefix,
                )
                images.add_item(item)

    def __repr__(self) -> str:
        made = [f"{each.identity.sentence}: {each.error or each.identity.imagename}" for each in self.outcomes]
        return "\n".join([f"{self.stage.name}:", *made])


class Imaging(basetask.StandardTaskTemplate):
    """A stage: images every target that is listed, and goes on with the next where one fails."""

    is_multi_vis_task = True
    stage: ClassVar[Stage]

    def prepare(self) -> ImagingResults:
        """Image the targets of the context."""
        outcomes = [self._outcome(target) for target in self.inputs.context.clean_list_pending]
        return ImagingResults(self.stage, outcomes)

    def analyse(self, result: ImagingResults) -> ImagingResults:
        """Return the results as they are: their quality is scored when they are accepted."""
        return result

    def _outcome(self, target: PipelineTarget) -> Outcome:
        """Image one target."""
        context, task = self.inputs.context, getattr(casa_ml_tasks, self.stage.task)
        identity = identity_of(target, self.stage.task, context.stage)
        try:
            call = call_of(target, identity, context.observing_run)
            call = with_given(call, self.inputs.parameters, signature(task).parameters, self.stage.name)
            outcome = Outcome(identity, record_of(self._executor.execute(JobRequest(task, **call))))
        except Exception as error:  # noqa: BLE001  (whatever it is, the other targets are imaged)
            LOG.error("%s has not imaged %s: %s", self.stage.name, identity.sentence, error)
            return Outcome(identity, error=f"{type(error).__name__}: {error}")
        self._write_headers(outcome)
        return outcome

    def _write_headers(self, outcome: Outcome) -> None:
        """Write into the images what the archive wants in their FITS headers."""
        identity = outcome.identity
        for image in images_of(outcome, self.stage.task, [*self.stage.exported, *AUXILIARY]):
            imageheader.set_miscinfo(
                name=image.imagename,
                spw=identity.spw,
                field=identity.source,
                datatype=identity.datatype,
                type=f"{self.stage.task}.{image.kind}",
                intent=identity.intent,
                specmode=identity.specmode,
                context=self.inputs.context,
            )


@task_registry.set_equivalent_casa_task(RMLCLEAN.name)
@task_registry.set_casa_commands_comment(RMLCLEAN.comment)
class HifxRmlclean(Imaging):
    """The stage hifx_rmlclean."""

    Inputs = RmlcleanInputs
    stage = RMLCLEAN


@task_registry.set_equivalent_casa_task(RESOLVEIMAGE.name)
@task_registry.set_casa_commands_comment(RESOLVEIMAGE.comment)
class HifxResolveimage(Imaging):
    """The stage hifx_resolveimage."""

    Inputs = ResolveimageInputs
    stage = RESOLVEIMAGE


class ImagingQuality(pipelineqa.QAPlugin):
    """Scores the results of the stages."""

    result_cls = ImagingResults
    child_cls = None
    generating_task = None

    def handle(self, context: Any, result: ImagingResults) -> None:
        """Write the scores; twice is as good as once, because `add_stages` may register this twice."""
        result.qa.pool[:] = [
            pipelineqa.QAScore(
                score.value,
                longmsg=score.reason,
                shortmsg=score.summary,
                origin=pipelineqa.QAOrigin(score.metric, score.measured, score.unit),
                applies_to=pipelineqa.TargetDataSelection(
                    spw=set(outcome.identity.spw.split(",")),
                    field={outcome.identity.source},
                    intent={outcome.identity.intent},
                ),
            )
            for outcome in result.outcomes
            for score in scores_of(outcome)
        ] or [pipelineqa.QAScore(None, longmsg="No imaging targets were listed", shortmsg="Nothing to image")]


class ImagingRenderer(basetemplates.T2_4MDetailsDefaultRenderer):
    """The page of a stage in the weblog."""

    def update_mako_context(self, mako_context: dict[str, Any], pipeline_context: Any, result: Any) -> None:
        """Give the template its sections, and copy the reports to the page."""
        [of_stage] = result
        weblog_folder = Path(pipeline_context.report_dir)
        mako_context |= {
            "task": of_stage.stage.task,
            "version": casa_ml_tasks.__version__,
            "description": of_stage.stage.description,
            "sections": [section_of(each, weblog_folder, of_stage.stage_number) for each in of_stage.outcomes],
        }


def hifx_rmlclean(vis: Any = None, parameters: Any = None) -> Any:
    """Image the targets of hif_makeimlist by regularised maximum likelihood, beside hif_makeimages.

    Examples:
        1. As the data tell:

        >>> hifx_rmlclean()

        2. With parameters of rmlclean:

        >>> hifx_rmlclean(parameters={'regularizer': ['l1', 'tsv']})
    """


def hifx_resolveimage(vis: Any = None, parameters: Any = None) -> Any:
    """Image the targets of hif_makeimlist by Bayesian inference, with their uncertainty, beside hif_makeimages.

    Examples:
        1. As the data tell:

        >>> hifx_resolveimage()

        2. With parameters of resolveimage:

        >>> hifx_resolveimage(parameters={'seed': 2})
    """


COMMANDS: list[tuple[type[Imaging], Callable[..., Any]]] = [
    (HifxRmlclean, hifx_rmlclean),
    (HifxResolveimage, hifx_resolveimage),
]


def add_stages() -> None:
    """Add the stages to the pipeline of this process, unless they are there."""
    if hasattr(pipeline.cli, RMLCLEAN.name):
        return
    weblog.register_mako_templates(str(TEMPLATES))
    qaadapter.registry.register_to_imaging_topic(ImagingResults)
    # The registry looks for handlers when the first stage is scored: this one may come later.
    pipelineqa.qa_registry.add_handler(ImagingQuality())
    for task, command in COMMANDS:
        renderer = ImagingRenderer(uri=TEMPLATE, description=task.stage.description)
        weblog.registry.add_renderer(task, renderer, group_by=weblog.UNGROUPED)
        # Recipes and processing requests look for a command in this module.
        setattr(pipeline.cli, task.stage.name, cli_wrapper(command))
