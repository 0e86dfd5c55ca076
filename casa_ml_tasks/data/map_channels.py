"""The channels of a map in those of an image: frequencies in its frame, and how channels are interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from casatools import measures
from numpy.typing import NDArray

from casa_ml_tasks.data.map_alignment import frame_of
from casa_ml_tasks.data.sky_map import SkyMap

SAME_REST = 1e-7
"""Relative: rest frequencies that differ by less are the same line (0.03 km/s)."""
CONTINUUM = 0.01
"""Relative: a map of the continuum may lie so far beside the band of a continuum image."""


def frequencies_in(sky_map: SkyMap, frame: str) -> NDArray[np.float64]:
    """Return the frequencies of a map's channels in a spectral frame that casacore names, (channel,), Hz.

    Raises:
        ValueError: the map names no frame, or too little of its observation to convert them.
    """
    if sky_map.spectral_frame == frame:
        return sky_map.frequencies
    if not sky_map.spectral_frame:
        raise ValueError("names no frame of its frequencies; set SPECSYS in its header, for instance to LSRK")
    tool = measures()
    try:
        for name in _observation(tool, sky_map, {sky_map.spectral_frame, frame}):
            tool.doframe(name)
        factor = _converted(tool, 1e11, sky_map.spectral_frame, frame) / 1e11
    finally:
        tool.done()
    return sky_map.frequencies * factor


def _observation(tool: measures, sky_map: SkyMap, frames: set[str]) -> list[dict[str, Any]]:
    """Return direction, and where the Earth moves against a frame, time and place, as casacore's measures."""
    y, x = (count // 2 for count in sky_map.pixels.shape[1:])
    longitude, latitude = (float(each[0]) for each in sky_map.celestial.wcs_pix2world([x], [y], 0))
    found = [tool.direction(frame_of(sky_map.celestial), f"{longitude:.12g}deg", f"{latitude:.12g}deg")]
    if not frames & {"TOPO", "GEO"}:
        return found
    date, telescope = str(sky_map.header.get("DATE-OBS", "")), str(sky_map.header.get("TELESCOP", ""))
    place = tool.observatory(telescope) if telescope in tool.obslist() else {}
    if not date or not place:
        raise ValueError(
            f"has frequencies in {sky_map.spectral_frame}, and DATE-OBS='{date}' and TELESCOP='{telescope}' do not "
            "say how the Earth moved; give a map in LSRK"
        )
    return [*found, tool.epoch("UTC", date.replace("-", "/").replace("T", "/")), place]


def _converted(tool: measures, frequency: float, of: str, to: str) -> float:
    return float(tool.measure(tool.frequency(of, f"{frequency}Hz"), to)["m0"]["value"])


def channel_weights(
    frequencies: NDArray[np.floating], width: float, channels: NDArray[np.floating], image_width: float
) -> NDArray[np.float64]:
    """Return how much of each channel of a map is in each of an image, (image channel, channel).

    Channels of the image that are not much wider than the map's are interpolated between the two beside them; wider
    ones are means of what lies in them. Rows add up to 1, or to 0 where the map has no data.

    Args:
        frequencies: of the map, (channel,), Hz.
        width: of a channel of the map, Hz.
        channels: of the image, (image channel,), Hz.
        image_width: of a channel of the image, Hz.
    """
    offset = np.subtract.outer(channels, frequencies)
    if image_width > 1.5 * width:
        overlap = (image_width + width) / 2 - np.abs(offset)
        weights = np.clip(overlap, 0, min(width, image_width))
    elif len(frequencies) == 1:
        weights = (np.abs(offset) <= width / 2 * (1 + 1e-6)).astype(float)
    else:
        spacing = np.abs(np.diff(frequencies)).mean()
        within = np.clip(channels, frequencies.min(), frequencies.max())
        weights = np.maximum(0, 1 - np.abs(np.subtract.outer(within, frequencies)) / spacing)
        weights[np.abs(channels - within) > spacing / 2 * (1 + 1e-6)] = 0
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, where=total > 0, out=np.zeros_like(weights))


def channels_of_map(
    sky_map: SkyMap, channels: NDArray[np.floating], image_width: float, frame: str, rest: float
) -> NDArray[np.float64]:
    """Return how much of each channel of a map is in each of an image, (image channel, channel).

    A map of one channel serves a continuum image of one channel whatever its width.

    Args:
        sky_map: the map.
        channels: of the image, (channel,), Hz.
        image_width: of a channel of the image, Hz.
        frame: of the image's frequencies, casacore's name.
        rest: rest frequency of the image, Hz; 0 where none was given.

    Raises:
        ValueError: the map has no frequency that the image has, or is of another line.
    """
    own = sky_map.frequencies
    if not own.size:
        if len(channels) > 1:
            raise ValueError("has no axis of frequency; give a cube, or set one in its header")
        return np.ones((1, 1))
    cube = len(channels) > 1 or len(own) > 1
    if cube and rest > 0 and sky_map.rest_frequency > 0 and abs(sky_map.rest_frequency / rest - 1) > SAME_REST:
        raise ValueError(
            f"is of a line at {sky_map.rest_frequency / 1e9:.9g} GHz and restfreq is {rest / 1e9:.9g} GHz; give the "
            "map of the same line, or its rest frequency"
        )
    if not cube:
        gap = abs(own[0] - channels[0]) - (sky_map.width + image_width) / 2
        weights = np.full((1, 1), float(gap < CONTINUUM * channels[0]))
    else:
        weights = channel_weights(frequencies_in(sky_map, frame), sky_map.width, channels, image_width)
    if not weights.any():
        raise ValueError(
            f"has frequencies from {own.min() / 1e9:.6g} to {own.max() / 1e9:.6g} GHz and the image from "
            f"{channels.min() / 1e9:.6g} to {channels.max() / 1e9:.6g} GHz; give a map of the same frequencies"
        )
    return weights
