"""Draws a figure once and writes it as SVG and as PNG, with the standard library alone: an instance has no more than that.

figure = Picture(640, 400)
figure.line([(10, 10), (200, 90)], "#1b6ca8", 2)
figure.text(10, 120, "distance", 14)
figure.save("results/figure")          # figure.svg and figure.png
"""

import math
import struct
import zlib
from html import escape
from itertools import pairwise
from pathlib import Path

# The classic 5 x 7 font of character displays: five columns each, from the space to the tilde, the top pixel lowest.
FONT = bytes.fromhex(
    "000000000000005f00000007000700147f147f14242a7f2a12231308646236495620500008070300001c2241000041221c002a1c7f1c2a"
    "08083e080800807030000808080808000060600020100804023e5149453e00427f400072494949462141494d331814127f102745454539"
    "3c4a49493141211109073649494936464949291e0000140000004034000000081422411414141414004122140802015909063e415d594e"
    "7c1211127c7f494949363e414141227f4141413e7f494949417f090909013e414151737f0808087f00417f41002040413f017f08142241"
    "7f404040407f021c027f7f0408107f3e4141413e7f090909063e4151215e7f09192946264949493203017f01033f4040403f1f2040201f"
    "3f4038403f631408146303047804036159494d43007f4141410204081020004141417f0402010204404040404000030708002054547840"
    "7f284444383844444428384444287f385454541800087e090218a4a49c787f0804047800447d40002040403d007f1028440000417f4000"
    "7c047804787c080404783844444438fc1824241818242418fc7c08040408485454542404043f44243c4040207c1c2040201c3c4030403c"
    "44281028444c9090907c4464544c440008364100000077000000413608000201020402"
)
GLYPH = 6  # columns that a letter takes, its gap included
SCALE = 2  # pixels of the PNG for each unit of the drawing, so that it is sharp on a phone too


class Picture:
    """A drawing in units of a pixel of the SVG; the PNG has SCALE times as many each way."""

    def __init__(self, width, height, background="#ffffff"):
        self.width, self.height = width, height
        self.columns, self.rows = width * SCALE, height * SCALE
        self.pixels = bytearray(bytes(rgb(background)) * (self.columns * self.rows))
        self.parts = [f'<rect width="{width}" height="{height}" fill="{background}"/>']

    def box(self, x, y, width, height, color):
        """A filled rectangle."""
        self.parts.append(f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{color}"/>')
        left, right = (max(0, min(self.columns, round(value * SCALE))) for value in (x, x + width))
        top, bottom = (max(0, min(self.rows, round(value * SCALE))) for value in (y, y + height))
        row = bytes(rgb(color)) * (right - left)
        for line in range(top, bottom):
            at = 3 * (line * self.columns + left)
            self.pixels[at : at + len(row)] = row

    def line(self, points, color="#222222", width=1.0):
        """A line through *points*, its edges smoothed."""
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>'
        )
        for start, end in pairwise(points):
            self._segment(start, end, rgb(color), width * SCALE / 2)

    def dot(self, x, y, radius, color):
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius}" fill="{color}"/>')
        self._segment((x, y), (x, y), rgb(color), radius * SCALE)

    def text(self, x, y, words, size=14, color="#222222", anchor="start", *, turned=False):
        """Words with their base line at y; *turned* reads upwards. Size 7 is one pixel of the font, 14 two, and so on."""
        turn = f' transform="rotate(-90 {x:.2f} {y:.2f})"' if turned else ""
        self.parts.append(
            f'<text x="{x:.2f}" y="{y:.2f}" font-family="DejaVu Sans Mono, Menlo, monospace" font-size="{size}" '
            f'fill="{color}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'
        )
        dot = max(1, round(size * SCALE / 14)) / SCALE
        wide = (len(words) * GLYPH - 1) * dot
        begin = {"start": 0.0, "middle": -wide / 2, "end": -wide}[anchor]
        for index, letter in enumerate(words):
            code = ord(letter) - 32 if 32 <= ord(letter) < 127 else ord("?") - 32
            for column, bits in enumerate(FONT[5 * code : 5 * code + 5]):
                for row in range(8):
                    if bits >> row & 1:
                        along, up = begin + (index * GLYPH + column) * dot, (7 - row) * dot
                        spot = (x - up, y - along - dot) if turned else (x + along, y - up)
                        self._spot(*spot, dot, rgb(color))

    def save(self, path):
        """Write path.svg and path.png."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}">\n'
        path.with_suffix(".svg").write_text(head + "\n".join(self.parts) + "\n</svg>\n", encoding="utf-8")
        lines = (
            bytes(1) + self.pixels[3 * self.columns * row : 3 * self.columns * (row + 1)] for row in range(self.rows)
        )
        header = struct.pack(">IIBBBBB", self.columns, self.rows, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines), 9)), (b"IEND", b""))
        with path.with_suffix(".png").open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in chunks:
                file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    def _spot(self, x, y, side, color):
        """A square of the font."""
        left, top, side = round(x * SCALE), round(y * SCALE), round(side * SCALE)
        if left >= 0 and left + side <= self.columns:
            for row in range(max(0, top), min(self.rows, top + side)):
                at = 3 * (row * self.columns + left)
                self.pixels[at : at + 3 * side] = bytes(color) * side

    def _segment(self, start, end, color, half):
        """A thick segment: each pixel is covered by how near it is."""
        (x1, y1), (x2, y2) = ((x * SCALE, y * SCALE) for x, y in (start, end))
        dx, dy = x2 - x1, y2 - y1
        square = dx * dx + dy * dy or 1.0
        for row in range(max(0, int(min(y1, y2) - half - 1)), min(self.rows, int(max(y1, y2) + half + 2))):
            for column in range(max(0, int(min(x1, x2) - half - 1)), min(self.columns, int(max(x1, x2) + half + 2))):
                px, py = column + 0.5 - x1, row + 0.5 - y1
                along = max(0.0, min(1.0, (px * dx + py * dy) / square))
                cover = min(1.0, half + 0.5 - math.hypot(px - along * dx, py - along * dy))
                if cover > 0:
                    at = 3 * (row * self.columns + column)
                    for channel in range(3):
                        old = self.pixels[at + channel]
                        self.pixels[at + channel] = round(old + (color[channel] - old) * cover)


def rgb(color):
    """Red, green and blue of "#rrggbb"."""
    return tuple(bytes.fromhex(color[1:]))


def shade(value, stops=("#fdf6e3", "#f2b661", "#c8553d", "#4a1942")):
    """The color at *value* between 0 and 1 along *stops*: light is little, dark is much."""
    place = max(0.0, min(1.0, value)) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    low, high = rgb(stops[index]), rgb(stops[index + 1])
    return "#" + "".join(f"{round(a + (b - a) * (place - index)):02x}" for a, b in zip(low, high, strict=True))
