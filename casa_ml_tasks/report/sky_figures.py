"""Images of the sky as figures of a report, drawn without pyplot so that no global state of matplotlib changes."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from casa_ml_tasks.quantities import si_prefix
from casa_ml_tasks.report.image_residual import inside_primary_beam
from casa_ml_tasks.report.imaging_content import Array, ImagingContent

DISPLAY_PIXELS = 1024
PRIMARY_BEAM_LEVELS = {0.2: "20 %", 0.5: "50 %"}
SMALL = (4.8, 4.2)  # inches; three of these stand in a row
SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
ROOM_OF_DIGIT = 0.014  # of the length of a colour bar


def block_mean(image: Array, block: int) -> Array:
    """Mean over blocks of (block, block) pixels, of the unmasked ones; the last blocks may be partial."""
    ny, nx = image.shape
    padded = np.pad(image, ((0, -ny % block), (0, -nx % block)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block)
    return np.ma.masked_invalid(blocks).mean(axis=(1, 3)).filled(np.nan)


def sky_edges(shape: tuple[int, ...], cell: float) -> tuple[float, float, float, float]:
    """East, West, South and North edge of an image as offsets from its reference pixel (n // 2), in the unit of `cell`.

    Offsets grow to the North and to the East, so the first is the largest in x and stands on the left.
    """
    ny, nx = shape
    east, south = nx // 2 + 0.5, -(ny // 2) - 0.5
    return cell * east, cell * (east - nx), cell * south, cell * (south + ny)


def block_edges(shape: tuple[int, ...], block: int, cell: float) -> tuple[float, float, float, float]:
    """As `sky_edges`, of an image that `block_mean` has averaged: its last blocks may reach beyond the image."""
    ny, nx = shape
    east, _, south, _ = sky_edges(shape, cell)
    side = block * cell
    return east, east - side * math.ceil(nx / block), south, south + side * math.ceil(ny / block)


def noise_level(content: ImagingContent) -> float:
    """The expected noise; for noise-free data what the residual shows instead, and never zero."""
    values = inside_primary_beam(content.residual, content.primary_beam)
    measured = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    return next((noise for noise in (content.noise, measured) if noise > 0), 1e-6)


def asinh_ticks(norm: AsinhNorm) -> list[float]:
    """Round values for a colour bar: zero, powers of ten, then 5 and 2 times these, where labels have room."""
    powers = 10.0 ** np.arange(-4, 4)
    ticks = [0.0]
    for tick in (sign * digit * power for digit in (1, 5, 2) for power in powers for sign in (1, -1)):
        room = max(0.05, ROOM_OF_DIGIT * len(f"{tick:g}"))
        if norm.vmin <= tick <= norm.vmax and np.min(np.abs(norm(ticks) - norm(tick))) > room:
            ticks.append(float(tick))
    return sorted(ticks)


def _draw_beam(axes: Axes, beam: tuple[float, float, float], edges: tuple[float, float, float, float]) -> None:
    """The beam in the South-East corner, true to scale."""
    major, minor, position_angle = beam
    east, west, south, north = edges
    margin = 0.03 * min(east - west, north - south) + major / 2
    # x grows to the left, so the anticlockwise turn that matplotlib counts from x to y is the sky's, reversed.
    centre = (east - margin, south + margin)
    axes.add_patch(Ellipse(centre, minor, major, angle=-position_angle, facecolor="white", edgecolor="black"))


def _draw_primary_beam(axes: Axes, primary_beam: Array, edges: tuple[float, float, float, float], colour: str) -> None:
    """Dashed contours at half and a fifth of the response, where the image reaches that far."""
    east, west, south, north = edges
    ny, nx = primary_beam.shape
    x = east + (np.arange(nx) + 0.5) * (west - east) / nx
    y = south + (np.arange(ny) + 0.5) * (north - south) / ny
    levels = [level for level in PRIMARY_BEAM_LEVELS if np.nanmin(primary_beam) < level < np.nanmax(primary_beam)]
    if levels:
        contours = axes.contour(x, y, primary_beam, levels, colors=colour, linestyles="dashed", linewidths=0.8)
        axes.clabel(contours, fmt=PRIMARY_BEAM_LEVELS, fontsize=8)


def draw_sky(
    content: ImagingContent,
    image: Array,
    title: str,
    unit: str,
    norm: Callable[[float], Normalize],
    highest: float,
    colours: str = SEQUENTIAL,
    show_beam: bool = True,
) -> Figure:
    """One image of the sky.

    Args:
        content: what the report is about.
        image: (y, x), in ``unit``.
        title: above the image.
        unit: Jy/beam or Jy/pixel; the colour bar adds the SI prefix.
        norm: makes the stretch when given the factor of the prefix, by which all limits are divided.
        highest: the value that chooses the prefix.
        colours: name of the colormap.
        show_beam: whether the beam belongs to this image.
    """
    block = math.ceil(max(image.shape) / DISPLAY_PIXELS)
    factor, prefix = si_prefix(highest)
    shown = block_mean(image, block) / factor
    length, angle = content.angular_unit
    edges = block_edges(image.shape, block, content.cell / length)

    width, height = 5.0, min(max(5.0 * image.shape[0] / image.shape[1], 2.0), 8.0)
    figure = Figure(figsize=(width + 2.2, height + 1.1), dpi=110)
    position = (0.95 / figure.get_figwidth(), 0.65 / figure.get_figheight())
    size = (width / figure.get_figwidth(), height / figure.get_figheight())
    axes = figure.add_axes((*position, *size), facecolor="0.93", aspect="equal")
    drawn = axes.imshow(shown, origin="lower", extent=edges, cmap=colours, norm=norm(factor))
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.045, 1)), label=f"{prefix}{unit}")
    if isinstance(drawn.norm, AsinhNorm):
        ticks = asinh_ticks(drawn.norm)
        bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
        bar.minorticks_off()
    if content.primary_beam is not None:
        contour_colour = "white" if colours == SEQUENTIAL else "black"
        _draw_primary_beam(axes, block_mean(content.primary_beam, block), edges, contour_colour)
    if show_beam and content.beam is not None:
        major, minor, position_angle = content.beam
        _draw_beam(axes, (major / length, minor / length, position_angle), edges)
    axes.set(
        title=title if block == 1 else f"{title} (mean of {block} × {block} pixels)",
        xlabel=f"offset East ({angle})",
        ylabel=f"offset North ({angle})",
    )
    return figure


def _draw_asinh(
    content: ImagingContent, image: Array, title: str, unit: str, noise: float, lowest: float, show_beam: bool = True
) -> Figure:
    """An image whose stretch is linear up to a few times the noise and logarithmic above."""
    highest = max(float(np.nanmax(image, initial=0.0)), 3 * noise)

    def norm(factor: float) -> Normalize:
        return AsinhNorm(linear_width=3 * noise / factor, vmin=lowest / factor, vmax=highest / factor)

    return draw_sky(content, image, title, unit, norm, highest, show_beam=show_beam)


def draw_dirty(content: ImagingContent) -> Figure:
    """The dirty image, from its deepest negative sidelobe to its peak."""
    noise = noise_level(content)
    lowest = float(np.nanmin(content.dirty, initial=-3 * noise))
    return _draw_asinh(content, content.dirty, "Dirty image", "Jy/beam", noise, lowest)


def draw_model(content: ImagingContent) -> Figure:
    """The model, with the noise of one beam spread over the beam's pixels as the faintest brightness of interest.

    Of a sky that is not negative the colours begin at zero, although the pixels that render a bright source between
    them are of either sign.
    """
    noise = noise_level(content) / content.beam_area
    lowest = float(np.nanmin(content.model, initial=0.0)) if content.may_be_negative else 0.0
    title = "Posterior mean" if content.model_is_mean else "Model"
    return _draw_asinh(content, content.model, title, "Jy/pixel", noise, lowest, show_beam=False)


def draw_restored(content: ImagingContent) -> Figure:
    """The restored image, from three times the noise below zero to its peak."""
    noise = noise_level(content)
    return _draw_asinh(content, content.restored, "Restored image", "Jy/beam", noise, -3 * noise)


def draw_residual(content: ImagingContent) -> Figure:
    """The residual image, linear, between plus and minus five times the expected noise."""
    limit = 5 * noise_level(content)
    return draw_sky(
        content,
        content.residual,
        "Residual image (colours: ±5 × expected noise)",
        "Jy/beam",
        lambda factor: Normalize(-limit / factor, limit / factor),
        limit,
        DIVERGING,
    )
