"""The channels of a map in those of an image: frequencies in its frame, and how channels are interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from casatools import measures
from numpy.typing import NDArray

from casa_ml_tasks.data.map_alignment import frame_of
from casa_ml_tasks.data.sky_map import SkyMap

SAME_REST = 1e-7
"""Relative: rest frequencies that differ by less are the same line (0.03 km/s)."""
OF_THE_EARTH = ("TOPO", "GEO")
OF_THE_SKY = ("LSRK", "LSRD", "BARY", "GALACTO", "LGROUP", "CMB")
REFERENCE = 1e11  # Hz, a frequency to convert
CONTINUUM = 0.01
"""Relative: a map of the continuum may lie so far beside the band of a continuum image."""


@dataclass(frozen=True)
class SpectralFrame:
    """A frame of frequencies, and what its motion depends on.

    Attributes:
        name: casacore's, for instance LSRK; '' for none.
        direction: frame, longitude and latitude that was observed, degrees.
        date: of the observation, UTC, as FITS has it; '' for none.
        telescope: '' for none.
    """

    name: str
    direction: tuple[str, float, float]
    date: str = ""
    telescope: str = ""

    @classmethod
    def of(cls, sky_map: SkyMap) -> SpectralFrame:
        """Return the frame of a map."""
        y, x = (count // 2 for count in sky_map.pixels.shape[1:])
        longitude, latitude = (float(each[0]) for each in sky_map.celestial.wcs_pix2world([x], [y], 0))
        date, telescope = (str(sky_map.header.get(name, "")).strip() for name in ("DATE-OBS", "TELESCOP"))
        return cls(sky_map.spectral_frame, (frame_of(sky_map.celestial), longitude, latitude), date, telescope)

    def lsrk_over_this(self) -> float:
        """Return the factor from frequencies in this frame to LSRK.

        Raises:
            ValueError: the frame is none that casacore can convert with what is known.
        """
        if self.name == "LSRK":
            return 1.0
        tool = measures()
        try:
            frame, longitude, latitude = self.direction
            tool.doframe(tool.direction(frame, f"{longitude:.12g}deg", f"{latitude:.12g}deg"))
            if self.name in OF_THE_EARTH:
                self._place_on_earth(tool)
            elif self.name not in OF_THE_SKY:
                raise ValueError(f"has frequencies in the frame '{self.name}', which are not converted; use LSRK")
            found = tool.measure(tool.frequency(self.name, f"{REFERENCE}Hz"), "LSRK")
            return float(found["m0"]["value"]) / REFERENCE
        finally:
            tool.done()

    def _place_on_earth(self, tool: measures) -> None:
        place = tool.observatory(self.telescope) if self.telescope in tool.obslist() else {}
        if not self.date or not place:
            raise ValueError(
                f"has frequencies in {self.name}, and DATE-OBS='{self.date}' and TELESCOP='{self.telescope}' do not "
                "say how the Earth moved; give a map in LSRK"
            )
        tool.doframe(tool.epoch("UTC", self.date.replace("-", "/").replace("T", "/")))
        tool.doframe(place)


def frequencies_in(sky_map: SkyMap, frame: SpectralFrame) -> NDArray[np.float64]:
    """Return the frequencies of a map's channels in a frame, (channel,), Hz.

    Raises:
        ValueError: the map names no frame, or too little of its observation to convert them.
    """
    own = SpectralFrame.of(sky_map)
    if own.name == frame.name and own.name not in OF_THE_EARTH:
        return sky_map.frequencies
    if not own.name:
        raise ValueError("names no frame of its frequencies; set SPECSYS in its header, for instance to LSRK")
    return sky_map.frequencies * own.lsrk_over_this() / frame.lsrk_over_this()


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
    sky_map: SkyMap, channels: NDArray[np.floating], image_width: float, frame: SpectralFrame, rest: float
) -> NDArray[np.float64]:
    """Return how much of each channel of a map is in each of an image, (image channel, channel).

    A map of one channel serves a continuum image of one channel whatever its width.

    Args:
        sky_map: the map.
        channels: of the image, (channel,), Hz.
        image_width: of a channel of the image, Hz.
        frame: of the image's frequencies.
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
