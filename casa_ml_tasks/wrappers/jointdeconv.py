"""jointdeconv for scripts, with the type checks of a CASA task.

Generated from xml/jointdeconv.xml by task_generator.py: edit the XML and run `make wrappers`.
"""
# ruff: noqa: B006  (lists as defaults, as in CASA's own tasks; ScriptTask copies them)

from typing import Any, ClassVar

from casa_ml_tasks.wrappers.base import ScriptTask, schema


class _Jointdeconv(ScriptTask):
    """Joint deconvolution of pointings, arrays and single-dish maps.

    Called like tclean, whose parameters it has, with single-dish maps beside the Measurement Sets (sdimage). One
    image of the sky explains all of them at once: each visibility through the primary beam of its pointing and its
    two antennas, each single-dish map through the beam of the dish. The image minimises the sum of their chi^2 / 2
    and of regularisers whose strength follows from the noise; with inference='posterior' it is the mean of the
    posterior of resolveimage's prior. Nothing has to be tuned, and nothing is feathered. The sky that is imaged is
    larger than imsize where a single-dish map is, so that emission outside the image, which the dish sees, is not
    taken for emission inside. Parameters that steer CLEAN are accepted and ignored, so that a script for tclean
    runs.

    Products, named imagename plus
        .model              the sky, Jy/pixel, NOT multiplied with the primary beam
        .sky                the same on the whole area that was imaged, where that is larger than imsize
        .image              model convolved with the CLEAN beam, plus residual, Jy/beam, times the primary beam
        .image.pbcor        the same divided by the primary beam (pbcor=True)
        .residual .psf .pb .sumwt    as in tclean, of all Measurement Sets together
        .sd.residual        each single-dish map minus the model, Jy/beam (.sd2.residual of the second map, and so on)
        .uncertainty .samples        of the posterior (inference='posterior'), Jy/pixel
        .report             a folder with figures and a page that explains the run

    Returns a dictionary like tclean's (stopcode, stopDescription, iterdone, nmajordone, summarymajor, summaryminor)
    with noise_scale (thermal noise over WEIGHT's), image_noise and thermal_noise (Jy/beam), flux_scale (the factor of
    each data set with its error), single_dish (r.m.s. of each map's residual over its noise), cycles (one record a
    major cycle), products, report, version and commit.

    Errors are exceptions with one sentence. The Measurement Sets are not changed.

    Args:
        vis: Name of the input visibility file(s). The Measurement Set, or a list of them that are imaged together.
        selectdata: Show the data selection parameters. Shows the selection parameters at the prompt; they act
            either way, as in tclean.
        field: Fields to select. Names or indices of fields, such as '0~3' or 'M31*'; with several vis a list may
            give one selection each.
        spw: Spectral windows and channels to select. Such as '0~2:5~60' or '*:230~231GHz'.
        timerange: Range of time to select. Such as '09:14:00~09:54:00'.
        uvrange: Range of baseline lengths to select. Such as '0~1000klambda' or '>100m'.
        antenna: Antennas and baselines to select. Such as 'DA41&DV02' or '!ea05'.
        scan: Scan numbers to select.
        observation: Observation IDs to select.
        intent: Scan intents to select. Such as 'OBSERVE_TARGET*'.
        datacolumn: Data column to image (data, corrected). Without a CORRECTED_DATA column, 'corrected' falls back
            to DATA.
        imagename: Name of the output images, without their endings. The products are imagename.model,
            imagename.image and so on.
        imsize: Number of pixels. One number for a square image, or [nx, ny].
        cell: Size of a pixel. Such as '0.05arcsec' or ['1arcsec', '1arcsec']. RML resolves structure below the
            beam: use 5 to 10 pixels a beam.
        phasecenter: Phase centre of the image. A direction such as 'J2000 19h30m00 -40d00m00', a field ID,
            'TRACKFIELD' to follow the ephemeris of the field, a planet or an ephemeris table to follow, or '' for
            the first selected field.
        stokes: Stokes planes to make. I, pseudoI, or a hand such as XX.
        projection: Coordinate projection. Of the model: SIN, TAN, CAR or another projection of FITS, or HEALPIX,
            whose pixels are written as imagename.sky.fits. Residual and restored image stay in SIN.
        startmodel: Name of the starting model image. An image in Jy/pixel from which the first residual is made.
        specmode: Spectral mode (mfs, cont, cubedata). cubedata has the channels of the data, side by side. cube,
            which interpolates between them, is refused: bring the data to the frame of the cube first, with
            mstransform.
        reffreq: Reference frequency. Such as '1.5GHz'; '' means the middle of the selected range.
        nchan: Number of channels in the image. -1 means all selected channels.
        start: First channel (start=3, start='1.1GHz', start='15343km/s').
        width: Channel width (width=2, width='0.1MHz', width='10km/s').
        outframe: Spectral frame in which start and width count. Not used by specmode='cubesource', which images in
            the frame of the source.
        veltype: Velocity type (radio, z, ratio, beta, gamma, optical).
        restfreq: List of rest frequencies. Such as ['115.2712GHz']; [] means the one in the data.
        interpolation: Spectral interpolation (nearest, linear, cubic).
        perchanweightdensity: Weight density for each channel in Briggs weighting: ignored.
        gridder: Gridding options: ignored, always our own kernels for mosaics. A script's choice among tclean's
            gridders is ignored: every pointing is imaged through its own primary beam.
        facets: Number of facets on a side: 1; more are refused.
        psfphasecenter: Direction at which the PSF of a mosaic is computed: ignored. It is the phase centre.
        wprojplanes: Number of w values for convolution functions: ignored.
        vptable: Name of a voltage pattern table: refused. The beams of ALMA's 12 m and 7 m dishes and of the VLA
            are known.
        mosweight: Weight each field of a mosaic on its own: ignored.
        aterm: Use aperture illumination functions: ignored.
        psterm: Use prolate spheroidal functions: ignored.
        wbawp: Use wide-band aperture terms: ignored.
        conjbeams: Use conjugate frequencies for wide-band aperture terms: ignored.
        cfcache: Name of the convolution function cache: ignored.
        usepointing: Use the directions of the POINTING table. The directions in which antennas look come from
            there, each pair of them a pointing of its own.
        computepastep: Parallactic angle step for new aperture functions (deg): ignored.
        rotatepastep: Parallactic angle step for rotated aperture functions (deg): ignored.
        pointingoffsetsigdev: Pointing offset above which antennas are grouped (arcsec): ignored.
        pblimit: Primary beam gain below which the image is cut off. A negative value keeps the pixels and disables
            the T/F mask.
        normtype: Normalisation: ignored. The model is the sky; residual and restored image have flat noise.
        imager: Which program runs the major cycles: ignored, always our own kernels. CASA's imager knows no sky
            beyond the mosaic.
        smearing: Average visibilities as far as this loss of amplitude allows; 0: not at all. The largest loss of
            a point source anywhere in the image, such as 0.001, by averaging in time and frequency before imaging,
            short baselines longer than long ones. Fewer visibilities make faster major cycles. Needs our own
            kernels (imager), a continuum image, and no noisemodel, blockmodel or likelihood='studentt'.
        device: Where our own kernels grid and degrid (cpu, gpu). gpu needs an NVIDIA GPU, pycuda and pyvkfft;
            where w is so large that it is imaged in planes, the CPU does the work.
        sdimage: Single-dish maps: CASA images or FITS files. In Jy/beam or K, of one channel or of many, which are
            interpolated to those of the image. '' is none.
        sdbeam: Beam of each map: '' from its header, a size, or an image of the beam. Such as '26.7arcsec',
            '27arcsec 26arcsec 30deg', or the name of an image; a list has one for each map.
        sdnoise: Noise of each map: '' measured in it, a number, or an image of the noise. Such as '20mJy/beam', or
            the name of an image; a list has one for each map.
        sdscale: Weight of the maps, relative to what their noise justifies.
        fluxscale: Flux scales of the data sets: compared (report), or corrected (fit). Where their uv distances
            overlap, each Measurement Set and map is compared with the others. fit multiplies each by the factor
            that makes them agree; the first Measurement Set stays as it is.
        inference: What is found: the most probable sky (map), or the posterior (posterior). posterior samples all
            skies that the data and resolveimage's prior allow: mean, uncertainty and samples. It takes some times
            longer.
        regularizer: Regularisers added to the likelihood. Any of these, each of strength 1 unless regstrength says
            otherwise; [] is maximum likelihood alone. Few numbers: l1 (few bright pixels), reweighted_l1 (the
            same, sparing the bright), starlet (few wavelets), uv_sparsity (little beyond the longest baselines).
            Smooth: log_smoothness (in the logarithm), tv (flat pieces), tsv, laplacian (straight slopes),
            power_spectrum (a Gaussian process); along frequency tv_channel, tsv_channel. Probable: entropy,
            multiplicity. Place: compactness (near the centre), edge_clamp (empty edges). points: point sources as
            a second component, in a product .points. Your own: 'module:function', a function(image, noise) of
            jax.numpy in a module of the current directory or of the Python path.
        regstrength: Strength of each regulariser, relative to what the noise suggests. One factor for each
            regulariser, in units of the strength that follows from the noise; [] means 1 each, but 0.3 for l1, and
            0.03 where single-dish maps say how much flux there is.
        priorimage: Image that the entropy prefers to all others (Jy/pixel). A CASA image of the size asked for; ''
            means an empty sky. Only with 'entropy' among the regularisers.
        positivity: Allow no negative brightness. Set False for absorption: tsv then takes the place of
            log_smoothness; entropy, multiplicity and points are refused.
        nsamples: Number of posterior samples; -1: chosen by the task. At least so many; by default 48, or more
            until their mean is known to a quarter of the uncertainty.
        maxglobal: Largest number of global iterations of each stage; -1: chosen by the task. Each follows the
            chains over some trajectories: to warm up while the noise falls to the true one, and to sample. While
            it falls there are as many as that takes; sampling ends before when the mean is known well enough.
        seed: Seed of the random numbers. The same seed gives the same samples.
        noisescale: True noise over the noise that WEIGHT claims. 'auto' measures the thermal noise in differences
            of the data, and errors of calibration in the residual; a positive number is the thermal noise and
            leaves out errors of calibration.
        likelihood: Distribution of the noise (gaussian, studentt). studentt gives outliers little weight. This and
            the next two need our own kernels (imager) and a continuum image.
        noisemodel: Noise scales found with the image (ms, spw, uvdist). For each Measurement Set, for its spectral
            windows, along baseline length; [] is noisescale alone.
        blockmodel: Corrections of execution blocks found with the image (amplitude, position). A factor or an
            offset for each OBSERVATION_ID of each Measurement Set, relative to the first.
        deconvolver: CLEAN algorithm: ignored, but mtmfs is refused. A script's choice among tclean's minor cycles
            is ignored, for there is one here.
        scales: Scale sizes in pixels, for multiscale and mtmfs: ignored.
        nterms: Number of Taylor terms of the spectral model. For deconvolver='mtmfs'.
        smallscalebias: Bias towards small scales: ignored.
        fusedthreshold: Threshold for switching to Hogbom (Jy/beam): ignored.
        largestscale: Largest scale in pixels: ignored.
        restoration: Make the restored image. imagename.image is the model convolved with the CLEAN beam, plus the
            residual.
        restoringbeam: Restoring beam; by default the fitted PSF main lobe. Such as ['1.5arcsec', '1arcsec',
            '30deg'], or 'common' for one beam in all channels.
        pbcor: Divide the restored image by the primary beam. Writes imagename.image.pbcor.
        outlierfile: Name of a file that lists outlier fields: refused. Use a larger imsize.
        weighting: Weighting: ignored, always natural. All data sets have natural weights, those of the noise, and
            so have the residual and the restored image. Another choice is ignored with a warning.
        robust: Robustness, from -2 (uniform) to 2 (natural): ignored.
        noise: Noise in briggsabs weighting: ignored.
        npixels: Pixels around a uv cell to determine its weight: ignored.
        uvtaper: Gaussian taper of the weights, such as ['5klambda']: ignored.
        niter: 0: the dirty image only; any other number is ignored. It ends when it has converged.
        gain: Loop gain: ignored.
        threshold: Peak residual at which to stop (Jy/beam, or such as '0.1mJy'): ignored.
        nsigma: Stop when the peak residual is below nsigma times its noise: ignored.
        cycleniter: Largest number of iterations in a minor cycle: ignored.
        cyclefactor: Scaling of the PSF sidelobe level that ends a minor cycle: ignored.
        minpsffraction: Smallest PSF fraction that ends a minor cycle: ignored.
        maxpsffraction: Largest PSF fraction that ends a minor cycle: ignored.
        interactive: Edit masks and parameters during the run: ignored.
        nmajor: Largest number of major cycles; -1: no limit.
        fullsummary: Return the full convergence history: ignored. The dictionary always has every cycle.
        usemask: Kind of mask: ignored. Emission is found everywhere in the image; a mask is ignored with a
            warning.
        mask: Mask image, region file or region string: ignored.
        pbmask: Primary beam gain above which the mask is true: ignored.
        sidelobethreshold: Mask threshold in units of the sidelobe level: ignored.
        noisethreshold: Mask threshold in units of the noise: ignored.
        lownoisethreshold: Threshold to which the mask grows, in units of the noise: ignored.
        negativethreshold: Threshold for negative features, in units of the noise: ignored.
        smoothfactor: Smoothing of the mask in units of the beam: ignored.
        minbeamfrac: Smallest mask region in units of the beam: ignored.
        cutthreshold: Cut of the smoothed mask, as a fraction of its peak: ignored.
        growiterations: Number of dilations when growing the mask: ignored.
        dogrowprune: Prune the grown mask: ignored.
        minpercentchange: Smallest change of the mask, in percent, for another update: ignored.
        verbose: Log more about automatic masking: ignored.
        fastnoise: Use the faster noise estimate: ignored.
        restart: Go on from images that exist. False writes to imagename with a number added.
        savemodel: Save model visibilities (none, virtual, modelcolumn). Anything but none changes the Measurement
            Set.
        calcres: Compute the initial residual: ignored. The residual is always made anew, from the model on disk if
            there is one.
        calcpsf: Compute the PSF: ignored. The PSF is always made anew.
        psfcutoff: PSF level above which the CLEAN beam is fitted.
        parallel: Read and grid visibilities on many workers. Images by our own kernels: each worker reads rows of
            its own once, of a mosaic those of pointings of its own. Other images are made in one process.
        cluster: Where the workers are. '' for the ranks of mpicasa, or without it processes on this machine;
            'slurm' or 'htcondor' for jobs as ~/.config/dask/jobqueue.yaml describes them; the address of a dask
            scheduler, such as 'tcp://node:8786'; or the path of a YAML with a section jobqueue. See
            docs/parallel.md.

    Example:
        jointdeconv(vis=["12m.ms", "7m.ms"], sdimage="tp.image", imagename="my", imsize=512, cell="0.2arcsec")
    """

    _info_group_ = "imaging"
    _info_desc_ = "Joint deconvolution of pointings, arrays and single-dish maps"
    _schema_: ClassVar[dict[str, Any]] = {
        "vis": schema("reqPath", "reqPathVec"),
        "selectdata": schema("bool"),
        "field": schema("string", "stringVec"),
        "spw": schema("string", "stringVec"),
        "timerange": schema("string", "stringVec"),
        "uvrange": schema("string", "stringVec"),
        "antenna": schema("string", "stringVec"),
        "scan": schema("string", "stringVec"),
        "observation": schema("string", "int"),
        "intent": schema("string", "stringVec"),
        "datacolumn": schema("string"),
        "imagename": schema("int", "string", "stringVec"),
        "imsize": schema("int", "intVec"),
        "cell": schema("int", "double", "intVec", "doubleVec", "string", "stringVec"),
        "phasecenter": schema("int", "string"),
        "stokes": schema(
            "string",
            allowed=[
                "I",
                "Q",
                "U",
                "V",
                "IV",
                "QU",
                "IQ",
                "UV",
                "IQUV",
                "RR",
                "LL",
                "XX",
                "YY",
                "RRLL",
                "XXYY",
                "pseudoI",
            ],
        ),
        "projection": schema("string"),
        "startmodel": schema("any"),
        "specmode": schema("string", allowed=["mfs", "cont", "cube", "cubedata", "cubesource", "mvc"]),
        "reffreq": schema("any"),
        "nchan": schema("int"),
        "start": schema("any"),
        "width": schema("any"),
        "outframe": schema("string"),
        "veltype": schema("string"),
        "restfreq": schema("any"),
        "interpolation": schema("string", allowed=["nearest", "linear", "cubic"]),
        "perchanweightdensity": schema("bool"),
        "gridder": schema(
            "string",
            allowed=[
                "standard",
                "native",
                "ft",
                "gridft",
                "widefield",
                "wproject",
                "wprojectft",
                "mosaic",
                "ftmosaic",
                "mosaicft",
                "imagemosaic",
                "awproject",
                "awprojectft",
                "awphpg",
                "awp2",
            ],
        ),
        "facets": schema("int"),
        "psfphasecenter": schema("int", "string"),
        "wprojplanes": schema("int"),
        "vptable": schema("string"),
        "mosweight": schema("bool"),
        "aterm": schema("bool"),
        "psterm": schema("bool"),
        "wbawp": schema("bool"),
        "conjbeams": schema("bool"),
        "cfcache": schema("string"),
        "usepointing": schema("bool"),
        "computepastep": schema("double"),
        "rotatepastep": schema("double"),
        "pointingoffsetsigdev": schema("intVec", "doubleVec"),
        "pblimit": schema("double"),
        "normtype": schema("string"),
        "imager": schema("string", allowed=["auto", "casa"]),
        "smearing": schema("double", minimum=0.0, maximum=0.1),
        "device": schema("string", allowed=["cpu", "gpu"]),
        "sdimage": schema("string", "stringVec"),
        "sdbeam": schema("string", "stringVec"),
        "sdnoise": schema("string", "stringVec"),
        "sdscale": schema("double"),
        "fluxscale": schema("string", allowed=["report", "fit"]),
        "inference": schema("string", allowed=["map", "posterior"]),
        "regularizer": schema("stringVec"),
        "regstrength": schema("double", "doubleVec", "string"),
        "priorimage": schema("string"),
        "positivity": schema("bool"),
        "nsamples": schema("int"),
        "maxglobal": schema("int"),
        "seed": schema("int"),
        "noisescale": schema("variant"),
        "likelihood": schema("string", allowed=["gaussian", "studentt"]),
        "noisemodel": schema("stringVec"),
        "blockmodel": schema("stringVec"),
        "deconvolver": schema(
            "string",
            allowed=[
                "hogbom",
                "clark",
                "clarkstokes",
                "clark_exp",
                "clarkstokes_exp",
                "multiscale",
                "mtmfs",
                "mem",
                "asp",
            ],
        ),
        "scales": schema("intVec", "doubleVec"),
        "nterms": schema("int"),
        "smallscalebias": schema("double"),
        "fusedthreshold": schema("double"),
        "largestscale": schema("int"),
        "restoration": schema("bool"),
        "restoringbeam": schema("string", "stringVec"),
        "pbcor": schema("bool"),
        "outlierfile": schema("string"),
        "weighting": schema(
            "string", allowed=["natural", "uniform", "briggs", "briggsabs", "radial", "superuniform", "briggsbwtaper"]
        ),
        "robust": schema("double", minimum=-2.0, maximum=2.0),
        "noise": schema("any"),
        "npixels": schema("int"),
        "uvtaper": schema("stringVec"),
        "niter": schema("int"),
        "gain": schema("double"),
        "threshold": schema("any"),
        "nsigma": schema("double"),
        "cycleniter": schema("int"),
        "cyclefactor": schema("double"),
        "minpsffraction": schema("double"),
        "maxpsffraction": schema("double"),
        "interactive": schema("bool"),
        "nmajor": schema("int"),
        "fullsummary": schema("bool"),
        "usemask": schema("string", allowed=["user", "pb", "auto-multithresh"]),
        "mask": schema("string", "stringVec"),
        "pbmask": schema("double"),
        "sidelobethreshold": schema("double"),
        "noisethreshold": schema("double"),
        "lownoisethreshold": schema("double"),
        "negativethreshold": schema("double"),
        "smoothfactor": schema("double"),
        "minbeamfrac": schema("double"),
        "cutthreshold": schema("double"),
        "growiterations": schema("int"),
        "dogrowprune": schema("bool"),
        "minpercentchange": schema("double"),
        "verbose": schema("bool"),
        "fastnoise": schema("bool"),
        "restart": schema("bool"),
        "savemodel": schema("string", allowed=["none", "virtual", "modelcolumn"]),
        "calcres": schema("bool"),
        "calcpsf": schema("bool"),
        "psfcutoff": schema("double"),
        "parallel": schema("bool"),
        "cluster": schema("string"),
    }

    def __call__(
        self,
        vis: str | list[str] = "",
        selectdata: bool = True,
        field: str | list[str] = "",
        spw: str | list[str] = "",
        timerange: str | list[str] = "",
        uvrange: str | list[str] = "",
        antenna: str | list[str] = "",
        scan: str | list[str] = "",
        observation: str | int = "",
        intent: str | list[str] = "",
        datacolumn: str = "corrected",
        imagename: int | str | list[str] = "",
        imsize: int | list[int] = [100],
        cell: int | float | list[int] | list[float] | str | list[str] = [],
        phasecenter: int | str = "",
        stokes: str = "I",
        projection: str = "SIN",
        startmodel: Any = "",
        specmode: str = "mfs",
        reffreq: Any = "",
        nchan: int = -1,
        start: Any = "",
        width: Any = "",
        outframe: str = "LSRK",
        veltype: str = "radio",
        restfreq: Any = [],
        interpolation: str = "linear",
        perchanweightdensity: bool = True,
        gridder: str = "standard",
        facets: int = 1,
        psfphasecenter: int | str = "",
        wprojplanes: int = 1,
        vptable: str = "",
        mosweight: bool = True,
        aterm: bool = True,
        psterm: bool = False,
        wbawp: bool = True,
        conjbeams: bool = False,
        cfcache: str = "",
        usepointing: bool = False,
        computepastep: float = 360.0,
        rotatepastep: float = 360.0,
        pointingoffsetsigdev: list[int] | list[float] = [],
        pblimit: float = 0.2,
        normtype: str = "flatnoise",
        imager: str = "auto",
        smearing: float = 0.0,
        device: str = "cpu",
        sdimage: str | list[str] = "",
        sdbeam: str | list[str] = "",
        sdnoise: str | list[str] = "",
        sdscale: float = 1.0,
        fluxscale: str = "report",
        inference: str = "map",
        regularizer: list[str] = ["log_smoothness", "l1"],
        regstrength: float | list[float] | str = [],
        priorimage: str = "",
        positivity: bool = True,
        nsamples: int = -1,
        maxglobal: int = -1,
        seed: int = 42,
        noisescale: Any = "auto",
        likelihood: str = "gaussian",
        noisemodel: list[str] = [],
        blockmodel: list[str] = [],
        deconvolver: str = "hogbom",
        scales: list[int] | list[float] = [],
        nterms: int = 2,
        smallscalebias: float = 0.0,
        fusedthreshold: float = 0.0,
        largestscale: int = -1,
        restoration: bool = True,
        restoringbeam: str | list[str] = [],
        pbcor: bool = False,
        outlierfile: str = "",
        weighting: str = "natural",
        robust: float = 0.5,
        noise: Any = "1.0Jy",
        npixels: int = 0,
        uvtaper: list[str] = [""],
        niter: int = -1,
        gain: float = 0.1,
        threshold: Any = 0.0,
        nsigma: float = 0.0,
        cycleniter: int = -1,
        cyclefactor: float = 1.0,
        minpsffraction: float = 0.05,
        maxpsffraction: float = 0.8,
        interactive: bool = False,
        nmajor: int = -1,
        fullsummary: bool = False,
        usemask: str = "user",
        mask: str | list[str] = "",
        pbmask: float = 0.0,
        sidelobethreshold: float = 3.0,
        noisethreshold: float = 5.0,
        lownoisethreshold: float = 1.5,
        negativethreshold: float = 0.0,
        smoothfactor: float = 1.0,
        minbeamfrac: float = 0.3,
        cutthreshold: float = 0.01,
        growiterations: int = 75,
        dogrowprune: bool = True,
        minpercentchange: float = -1.0,
        verbose: bool = False,
        fastnoise: bool = True,
        restart: bool = True,
        savemodel: str = "none",
        calcres: bool = True,
        calcpsf: bool = True,
        psfcutoff: float = 0.35,
        parallel: bool = False,
        cluster: str = "",
    ) -> dict[str, Any]:
        return self._run(locals())


jointdeconv = _Jointdeconv("jointdeconv")
