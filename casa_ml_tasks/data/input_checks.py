"""Everything that can be wrong with a call, found before anything is written.

Each check raises ValueError with one sentence that names the parameter, its value and the remedy, or warns in the
CASA log where the result is merely poor.
"""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from casatools import quanta

from casa_ml_tasks.data.casa_image import image_shape, is_casa_image
from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.data.outlier_file import outlier_parameters
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.workspace import product_path, taylor_terms

SMALLEST_IMSIZE = 8  # pixels
IMAGES_ON_DISK = 12 + 3 * 4  # the products, and three of them once more at twice the image size
CONTINUUM = ("mfs", "cont")  # specmodes with one image channel
SPECMODES = (*CONTINUUM, "cube", "cubedata", "cubesource")
NATIVE_SPECMODES = (*CONTINUUM, "cubedata")
#: Gridders of a single pointing (and their aliases): the primary beam stays in the image.
SINGLE_POINTING = ("native", "standard", "ft", "gridft", "wproject", "wprojectft", "widefield")
SAVEMODEL = ("none", "virtual", "modelcolumn")
DATA_MODEL = {"noisemodel": ("ms", "spw", "uvdist"), "blockmodel": ("amplitude", "position")}
FRAMES = ("J2000", "B1950", "ICRS", "GALACTIC")  # of directions
MASKING = ("user", "pb", "auto-multithresh")
FIELD_GRIDDERS = tuple(name for name in SINGLE_POINTING if name != "native")  # that make outlier fields
ARCSEC = np.pi / 180 / 3600  # radians


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check what the parameters alone can tell; no Measurement Set is opened and nothing is written.

    Args:
        parameters: all parameters of xml/rmlclean.xml.

    Raises:
        ValueError: for the first parameter that is wrong.
    """
    check_imaging(parameters)
    for check in (
        _check_interactive,
        _check_weighting,
        _check_minor_cycle,
        _check_thresholds,
        check_images,
        _check_mask,
        _check_outliers,
    ):
        check(parameters)


def check_imaging(parameters: Mapping[str, Any]) -> None:
    """Check the parameters that every task has, whatever its minor cycle.

    Raises:
        ValueError: for the first parameter that is wrong.
    """
    for check in (
        _check_names,
        _check_grid,
        _check_supported,
        _check_normalisation,
        _check_stokes,
        _check_taylor_terms,
        _check_noise_scale,
        _check_data_model,
    ):
        check(parameters)


def check_outputs(parameters: Mapping[str, Any], samples: int = 0) -> None:
    """Check that the products can be written: folder, disk, and products that an earlier run left.

    Args:
        parameters: of the task.
        samples: images of a posterior that are written too, once in the checkpoint and once as a product.

    Raises:
        ValueError: the folder is missing or not writable, the disk is too full, or with restart=True a product of
            that name has another shape.
    """
    imagename = str(parameters["imagename"])
    folder = Path(imagename).parent
    if not folder.is_dir():
        raise ValueError(f"imagename='{imagename}': the folder '{folder}' does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"imagename='{imagename}': the folder '{folder}' is not writable; choose another")
    nx, ny = image_size(parameters["imsize"])
    planes = len(stokes_planes(parameters["stokes"])) * (taylor_terms(parameters) or 1)
    images = IMAGES_ON_DISK + 2 * samples
    needed, free = 4 * nx * ny * planes * images, shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"imagename='{imagename}': images of {nx} x {ny} pixels need {needed / 1e9:.3g} GB in '{folder}', where "
            f"{free / 1e9:.3g} GB are free; make room or choose another disk"
        )
    _check_measurement_sets_are_writable(parameters)
    if parameters["restart"]:
        term = 0 if taylor_terms(parameters) else None
        for extension in ("model", "residual", "psf"):
            _check_product(product_path(imagename, extension, term), (nx, ny), parameters)


def image_size(imsize: Any) -> tuple[int, int]:
    """(nx, ny) from tclean's `imsize`: one number, or a list of one or two.

    Raises:
        ValueError: they are not whole numbers of at least SMALLEST_IMSIZE.
    """
    sizes = np.atleast_1d(imsize).tolist()
    if len(sizes) not in (1, 2) or not all(isinstance(n, int) and n >= SMALLEST_IMSIZE for n in sizes):
        raise ValueError(
            f"imsize={imsize} is no image size; give one or two whole numbers of at least {SMALLEST_IMSIZE} pixels"
        )
    return sizes[0], sizes[-1]


def cells_in_arcsec(cell: Any) -> list[float]:
    """tclean's `cell` (a quantity or a number in arcsec, or a list of one or two) in arcsec.

    Raises:
        ValueError: it is empty, no angle or not positive.
    """
    remedy = "give the pixel size, for example cell='0.1arcsec', about a third of the beam"
    cells = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    if len(cells) not in (1, 2) or any(each == "" for each in cells):
        raise ValueError(f"cell={cell!r} names no pixel size; {remedy}")
    sizes = [value_in(each, "arcsec", unit_optional=True) for each in cells]
    if not all(size is not None and size > 0 for size in sizes):
        raise ValueError(f"cell={cell!r} is not a positive angle; {remedy}")
    return [size for size in sizes if size is not None]


def cell_with_unit(cell: Any) -> list[Any]:
    """tclean's `cell` with 'arcsec' behind a string of digits, which CASA's imager would take for radians."""
    cells = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    bare = [isinstance(each, str) and value_in(each, "", unit_optional=True) is not None for each in cells]
    return [f"{each}arcsec" if unitless else each for each, unitless in zip(cells, bare, strict=True)]


def value_in(quantity: Any, unit: str, unit_optional: bool = False) -> float | None:
    """The finite value in `unit` of a number (already in it) or a string; None if it cannot be had."""
    if isinstance(quantity, int | float | np.number) and not isinstance(quantity, bool):
        value = float(quantity)
    else:
        tool = quanta()
        try:
            if not isinstance(quantity, str) or not quantity or not tool.isquantity(quantity):
                return None
            parsed = tool.quantity(quantity)
            if parsed["unit"] == "" and (unit_optional or parsed["value"] == 0):
                value = parsed["value"]
            elif tool.compare(quantity, f"1{unit}"):
                value = tool.convert(parsed, unit)["value"]
            else:
                return None
        finally:
            tool.done()
    return value if math.isfinite(value) else None


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple | np.ndarray) else [value]
    return [str(each) for each in values if str(each)]


def _check_names(parameters: Mapping[str, Any]) -> None:
    if not _strings(parameters["vis"]):
        raise ValueError(f"vis={parameters['vis']!r} names no Measurement Set; give its path, or a list of paths")
    imagename = parameters["imagename"]
    if not isinstance(imagename, str) or not imagename.strip() or imagename.endswith(os.sep):
        raise ValueError(f"imagename={imagename!r} names no image; give the name that all products begin with")


def _check_grid(parameters: Mapping[str, Any]) -> None:
    image_size(parameters["imsize"])
    cells_in_arcsec(parameters["cell"])


def _check_supported(parameters: Mapping[str, Any]) -> None:
    if parameters["specmode"] not in SPECMODES:
        raise ValueError(f"specmode='{parameters['specmode']}' is not imaged yet; use one of {', '.join(SPECMODES)}")
    if parameters["gridder"] == "native" and parameters["specmode"] not in NATIVE_SPECMODES:
        raise ValueError(
            f"specmode='{parameters['specmode']}' needs frequencies regridded, which gridder='native' does not do; "
            "use gridder='standard', or specmode='cubedata'"
        )
    if parameters["gridder"] == "native" and len(set(cells_in_arcsec(parameters["cell"]))) > 1:
        raise ValueError(f"cell={parameters['cell']!r} has oblong pixels; use gridder='standard' for them")
    if parameters["facets"] > 1:
        raise ValueError(f"facets={parameters['facets']} is not supported yet; use facets=1 and gridder='wproject'")
    if parameters["savemodel"] not in SAVEMODEL:
        raise ValueError(f"savemodel='{parameters['savemodel']}' is unknown; use one of {', '.join(SAVEMODEL)}")


def _check_interactive(parameters: Mapping[str, Any]) -> None:
    if parameters["interactive"]:
        raise ValueError(f"interactive={parameters['interactive']} is not supported; use interactive=False and a mask")


def _check_weighting(parameters: Mapping[str, Any]) -> None:
    """What 'briggsbwtaper' cannot do in tclean either."""
    if parameters["weighting"] != "briggsbwtaper":
        return
    needed: dict[str, tuple[Any, bool]] = {
        "specmode": ("cube", parameters["specmode"] not in CONTINUUM),
        "nchan": (-1, parameters["nchan"] != 1),
        "perchanweightdensity": (True, parameters["perchanweightdensity"]),
        "npixels": (0, parameters["npixels"] == 0),
    }
    for name, (remedy, fits) in needed.items():
        if not fits:
            raise ValueError(
                f"weighting='briggsbwtaper' does not go with {name}={parameters[name]!r}; use {name}={remedy!r}, or "
                "weighting='briggs'"
            )


def _is_our_mosaic(parameters: Mapping[str, Any]) -> bool:
    """Whether it is a mosaic that CLEAN does not deconvolve."""
    return parameters["gridder"] not in SINGLE_POINTING and parameters.get("minorcycle") != "clean"


def _check_normalisation(parameters: Mapping[str, Any]) -> None:
    if _is_our_mosaic(parameters) and parameters["normtype"] != "flatnoise":
        raise ValueError(f"normtype='{parameters['normtype']}' is not imaged yet; use normtype='flatnoise'")


def _check_stokes(parameters: Mapping[str, Any]) -> None:
    """What the data can tell is `data.stokes.check_stokes`."""
    stokes = parameters["stokes"]
    if _is_our_mosaic(parameters) and (len(stokes_planes(stokes)) > 1 or taylor_terms(parameters)):
        raise ValueError(
            f"gridder='{parameters['gridder']}' with stokes='{stokes}' and deconvolver='{parameters['deconvolver']}' "
            "is not imaged yet: mosaics have one Stokes plane and no Taylor terms; use one plane at a time, or "
            "rmlclean with minorcycle='clean'"
        )
    if stokes not in TOTAL_INTENSITY and parameters["gridder"] == "native":
        raise ValueError(
            f"stokes='{stokes}' needs gridder='standard', because gridder='native' images one of "
            f"{', '.join(TOTAL_INTENSITY)}"
        )


def _check_taylor_terms(parameters: Mapping[str, Any]) -> None:
    """As in tclean, `nterms` means nothing without deconvolver='mtmfs'."""
    if parameters["deconvolver"] != "mtmfs":
        return
    if parameters["nterms"] < 1:
        raise ValueError(f"nterms={parameters['nterms']} is no number of Taylor terms; use 2, or 1 for a flat spectrum")
    if parameters["specmode"] not in CONTINUUM:
        raise ValueError(
            f"deconvolver='mtmfs' makes one continuum image, not specmode='{parameters['specmode']}'; use another "
            "deconvolver, or specmode='mfs'"
        )
    if parameters["gridder"] == "native":
        raise ValueError("deconvolver='mtmfs' needs gridder='standard', because gridder='native' has no Taylor terms")
    if parameters["outlierfile"]:
        raise ValueError(
            f"outlierfile='{parameters['outlierfile']}' serves images without Taylor terms, not deconvolver='mtmfs'; "
            "use another deconvolver"
        )
    startmodel = _strings(parameters["startmodel"])
    if startmodel and len(startmodel) != parameters["nterms"]:
        raise ValueError(
            f"startmodel={startmodel} has {len(startmodel)} images for nterms={parameters['nterms']}; give one a term"
        )


def _check_minor_cycle(parameters: Mapping[str, Any]) -> None:
    if parameters["minorcycle"] != "clean":
        _check_regularisers(parameters)


def _check_regularisers(parameters: Mapping[str, Any]) -> None:
    from casa_ml_tasks.minor.rml.regularisers import registry

    names = _strings(parameters["regularizer"])
    for name in names:
        registry.resolve(name)
        if name not in registry.KNOWN:
            registry.check_user_function(name)
        if name in registry.NEED_POSITIVITY - registry.SIGNED_TWIN.keys() and not parameters["positivity"]:
            raise ValueError(
                f"regularizer='{name}' takes the logarithm of the image; use it with positivity=True, or leave it out"
            )
        if name in registry.NEED_CHANNELS and parameters["specmode"] in CONTINUUM:
            raise ValueError(
                f"regularizer='{name}' compares channels, and specmode='{parameters['specmode']}' has one; use it with "
                "specmode='cube'"
            )
    _check_components(names, parameters)
    signed = not parameters["positivity"] or not set("QUV").isdisjoint(parameters["stokes"])
    of_signed = {name for name, _ in registry.of_signed_images([(name, 1.0) for name in names])}
    if signed and names and of_signed <= set(registry.REGULARISERS) - registry.BOUND_THE_MAGNITUDE:
        raise ValueError(
            f"regularizer={names} lets an image that may be negative grow without bound where no baseline has looked; "
            f"add one of {', '.join(sorted(registry.BOUND_THE_MAGNITUDE))}"
        )
    _check_strengths(names, parameters)


def _check_components(names: list[str], parameters: Mapping[str, Any]) -> None:
    from casa_ml_tasks.minor.rml.regularisers.registry import COMPONENTS

    if COMPONENTS.keys().isdisjoint(names):
        return
    if set(names) <= COMPONENTS.keys():
        raise ValueError(
            f"regularizer={names} says nothing of extended emission; add one for it, such as 'log_smoothness'"
        )
    for name in ("outlierfile", "startmodel"):
        if _strings(parameters[name]):
            raise ValueError(f"{name}={parameters[name]!r} does not serve regularizer={names}; leave out 'points'")
    if taylor_terms(parameters):
        raise ValueError(f"regularizer={names} has no Taylor terms; leave out 'points', or deconvolver='mtmfs'")


def _check_strengths(names: list[str], parameters: Mapping[str, Any]) -> None:
    given = parameters["regstrength"]
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f"regstrength='{given}' is unknown; use 'auto', or one number for each regularizer")
        if not names:
            raise ValueError("regstrength='auto' has no regularizer to choose the strength of; name some")
        if parameters["stokes"] not in TOTAL_INTENSITY or taylor_terms(parameters):
            raise ValueError(
                "regstrength='auto' serves images of total intensity without Taylor terms, not "
                f"stokes='{parameters['stokes']}' with deconvolver='{parameters['deconvolver']}'; use regstrength=[]"
            )
        single = parameters["gridder"] in ("standard", "ft", "gridft", "native")
        if not single or parameters["specmode"] not in CONTINUUM:
            raise ValueError(
                f"regstrength='auto' serves continuum images of one pointing, not specmode='{parameters['specmode']}' "
                f"with gridder='{parameters['gridder']}'; use regstrength=[]"
            )
        return
    strengths = np.atleast_1d(given).tolist()
    if strengths and len(strengths) != len(names):
        raise ValueError(
            f"regstrength={strengths} has {len(strengths)} values for regularizer={names}; give one each, or [] for 1"
        )
    if not all(math.isfinite(strength) and strength >= 0 for strength in strengths):
        raise ValueError(f"regstrength={strengths} is not a list of factors; give numbers that are not negative")


def _check_noise_scale(parameters: Mapping[str, Any]) -> None:
    scale = parameters["noisescale"]
    if scale != "auto":
        value = value_in(scale, "", unit_optional=True)
        if value is None or value <= 0:
            raise ValueError(f"noisescale={scale!r} is no noise scale; use 'auto' or a positive number")


def _check_data_model(parameters: Mapping[str, Any]) -> None:
    for name, known in DATA_MODEL.items():
        for value in _strings(parameters.get(name, [])):
            if value not in known:
                raise ValueError(f"{name}=['{value}'] is unknown; use any of {', '.join(known)}, or []")
    asked: dict[str, Any] = {name: listed for name in DATA_MODEL if (listed := _strings(parameters.get(name, [])))}
    if parameters.get("likelihood", "gaussian") != "gaussian":
        asked |= {"likelihood": parameters["likelihood"]}
    needed = {"gridder": ("native",), "specmode": CONTINUUM, "minorcycle": ("rml",)}
    for name, wish in asked.items():
        for other, allowed in needed.items():
            if parameters.get(other, allowed[0]) not in allowed:
                raise ValueError(
                    f"{name}={wish!r} needs {other}='{allowed[0]}', and {other}='{parameters[other]}' is given; "
                    "change either"
                )


def _check_thresholds(parameters: Mapping[str, Any]) -> None:
    threshold = parameters["threshold"]
    if value_in(threshold, "Jy") is None:
        raise ValueError(
            f"threshold={threshold!r} is no flux density; give a number in Jy, or a quantity such as '0.1mJy'"
        )


def check_images(parameters: Mapping[str, Any]) -> None:
    """Check the images that the parameters name.

    Raises:
        ValueError: one is not there, is no CASA image, serves nothing, or has another shape than the image asked for.
    """
    for name in ("startmodel", "priorimage"):
        for path in _strings(parameters.get(name, "")):
            _check_image(name, path, parameters)


def _check_image(name: str, path: str, parameters: Mapping[str, Any]) -> None:
    if name == "priorimage" and "entropy" not in _strings(parameters["regularizer"]):
        raise ValueError(f"priorimage='{path}' serves regularizer='entropy' only; add it, or leave priorimage=''")
    if not Path(path).exists():
        raise ValueError(f"{name}='{path}' does not exist; give a CASA image in Jy/pixel, or ''")
    if not is_casa_image(path):
        raise ValueError(f"{name}='{path}' is not a CASA image; import it with importfits")
    _check_shape(name, path, parameters["imsize"], "regrid it with imregrid")


def _check_mask(parameters: Mapping[str, Any]) -> None:
    """A mask is a path, or region text, which has brackets."""
    for mask in _strings(parameters["mask"]):
        if not Path(mask).exists():
            if "[" not in mask:
                raise ValueError(f"mask='{mask}' does not exist; give an image, a region file or a region string")
        elif is_casa_image(mask):
            _check_shape("mask", mask, parameters["imsize"], "regrid it with imregrid, or give a region")


def _check_outliers(parameters: Mapping[str, Any]) -> None:
    """Each outlier field is checked like an image of its own; all serve one minor cycle."""
    path = parameters["outlierfile"]
    if not path:
        return
    outliers = outlier_parameters(parameters)
    if parameters["minorcycle"] == "clean":
        raise ValueError(f"outlierfile='{path}' serves minorcycle='rml'; for minorcycle='clean' use tclean")
    if isinstance(parameters["regstrength"], str):
        raise ValueError(f"regstrength='auto' takes outliers for structure; use [] with outlierfile='{path}'")
    _check_choices(parameters)
    names = [parameters["imagename"]]
    for field in outliers:
        where = f"outlierfile='{path}', imagename='{field['imagename']}'"
        try:
            for check in (_check_names, _check_grid, _check_centre, check_images, _check_mask, _check_choices):
                check(field)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if Path(field["imagename"]).absolute() in [Path(name).absolute() for name in names]:
            raise ValueError(f"{where} is the name of another field; give each its own")
        names.append(field["imagename"])


def is_direction(text: str) -> bool:
    """Whether it is a direction such as 'J2000 19:58:40.9 +40.55.58'."""
    frame, *angles = text.split() or [""]
    return frame.upper() in FRAMES and len(angles) == 2 and all(value_in(each, "rad") is not None for each in angles)


def _check_centre(parameters: Mapping[str, Any]) -> None:
    if not is_direction(str(parameters["phasecenter"])):
        raise ValueError(
            f"phasecenter='{parameters['phasecenter']}' is no direction; give one such as 'J2000 19:58:40.9 +40.55.58'"
        )


def _check_choices(parameters: Mapping[str, Any]) -> None:
    """What the type checks of the task have not seen where it comes from an outlier file."""
    for name, known in (("gridder", FIELD_GRIDDERS), ("usemask", MASKING)):
        if parameters[name] not in known:
            raise ValueError(f"{name}='{parameters[name]}' makes no outlier fields; use one of {', '.join(known)}")
    if not isinstance(parameters["wprojplanes"], int):
        raise ValueError(f"wprojplanes={parameters['wprojplanes']} is no number of planes; use a whole number, or -1")


def _check_shape(parameter: str, path: str, imsize: Any, remedy: str) -> None:
    expected, shape = image_size(imsize), image_shape(path)[:-3:-1]
    if shape != expected:
        raise ValueError(
            f"{parameter}='{path}' has {shape[0]} x {shape[1]} pixels, imsize asks for {expected[0]} x {expected[1]}; "
            f"{remedy}"
        )


def _check_product(product: Path, expected: tuple[int, int], parameters: Mapping[str, Any]) -> None:
    if not product.exists():
        return
    imagename, stokes, channels = parameters["imagename"], parameters["stokes"], _channels_asked_for(parameters)
    if not is_casa_image(product):
        raise ValueError(f"imagename='{imagename}': '{product}' exists and is not a CASA image; choose another name")
    remedy = "choose another imagename or remove the old products"
    shape = image_shape(product)
    if shape[1] != len(stokes_planes(stokes)):
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {shape[1]} Stokes planes, and stokes='{stokes}' has "
            f"{len(stokes_planes(stokes))}; {remedy}"
        )
    if channels is not None and shape[0] != channels:
        asked = (
            f"nchan={channels}" if parameters["specmode"] not in CONTINUUM else f"specmode='{parameters['specmode']}'"
        )
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {shape[0]} channels, {asked} asks for {channels}; "
            f"{remedy}"
        )
    if (shape := shape[:-3:-1]) != expected:
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {shape[0]} x {shape[1]} pixels, imsize asks for "
            f"{expected[0]} x {expected[1]}; {remedy}"
        )


def _channels_asked_for(parameters: Mapping[str, Any]) -> int | None:
    """Of the image; None where the data decide."""
    if parameters["specmode"] in CONTINUUM:
        return 1
    return parameters["nchan"] if parameters["nchan"] > 0 else None


def _check_measurement_sets_are_writable(parameters: Mapping[str, Any]) -> None:
    savemodel = parameters["savemodel"]
    for vis in [] if savemodel == "none" else _strings(parameters["vis"]):
        if Path(vis).exists() and not os.access(vis, os.W_OK):
            raise ValueError(
                f"savemodel='{savemodel}' writes into vis='{vis}', which is not writable; use savemodel='none', or a "
                "copy"
            )
