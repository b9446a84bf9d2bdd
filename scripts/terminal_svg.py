"""Draws what a command prints to a terminal as an SVG picture: terminal_svg.py TITLE < OUTPUT.

Makes docs/images: script -qec "ml-dash show DIR" /dev/null | scripts/terminal_svg.py "ml-dash show"
"""

import html
import re
import sys

COLUMN, ROW, TOP = 8.4, 19, 52  # pixels, for a 14 pixel monospaced font
COLOURS = {31: "#f7768e", 32: "#9ece6a", 33: "#e0af68", 34: "#7aa2f7", 35: "#bb9af7", 36: "#7dcfff"}
SGR = re.compile(r"\x1b\[([0-9;]*)m")


def spans(line):
    """(text, style) of a line with colour escapes; a style is the attributes of an SVG tspan."""
    style, at = {}, 0
    for match in [*SGR.finditer(line), None]:
        text = line[at : match.start() if match else len(line)]
        if text:
            yield text, dict(style)
        if match is None:
            return
        at = match.end()
        for code in [int(c or 0) for c in match[1].split(";")]:
            if code == 0:
                style.clear()
            elif code == 1:
                style["font-weight"] = "bold"
            elif code == 2:
                style["fill"] = "#737aa2"
            elif code in COLOURS:
                style["fill"] = COLOURS[code]


def draw(title, lines):
    columns = max(len(SGR.sub("", line)) for line in lines)
    width, height = int(columns * COLUMN + 40), len(lines) * ROW + TOP + 12
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14">'
    )
    yield f'<rect width="{width}" height="{height}" rx="10" fill="#1a1b26"/>'
    for i, colour in enumerate(("#f7768e", "#e0af68", "#9ece6a")):
        yield f'<circle cx="{22 + 20 * i}" cy="20" r="6" fill="{colour}"/>'
    yield (
        f'<text x="{width / 2}" y="25" fill="#a9b1d6" text-anchor="middle">'
        f"{html.escape(title)}</text>"
    )
    for number, line in enumerate(lines):
        x = 20.0
        for text, style in spans(line):
            attributes = "".join(f' {key}="{value}"' for key, value in style.items())
            if "fill" not in style:
                attributes += ' fill="#c0caf5"'
            if text.strip():
                yield (
                    f'<text x="{x:.1f}" y="{TOP + number * ROW}" xml:space="preserve" '
                    f'textLength="{len(text) * COLUMN:.1f}"{attributes}>{html.escape(text)}</text>'
                )
            x += len(text) * COLUMN
    yield "</svg>"


if __name__ == "__main__":
    printed = sys.stdin.read().replace("\r", "").rstrip("\n").split("\n")
    print("\n".join(draw(sys.argv[1], printed)))
