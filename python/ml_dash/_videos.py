"""save_video: frames, encoded one by one straight into a file of the experiment.

One frame is held beside what the encoder keeps, so that a generator of frames may be of any
length. PyAV (FFmpeg) encodes all formats.
"""

from __future__ import annotations

import itertools
import math
import numbers
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .exceptions import InvalidInputError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .files import FileBuilder, FileDict

# extension: container and encoder
_FORMATS = {
    ".mp4": ("mp4", "libx264"),
    ".m4v": ("mp4", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mkv": ("matroska", "libx264"),
    ".avi": ("avi", "libx264"),
    ".webm": ("webm", "libvpx-vp9"),
    ".gif": ("gif", "gif"),
}
# Constant quality of an encoder: the worst value of its scale, and what looks good.
_CRF = {"libx264": (51, 23), "libx265": (51, 28), "libvpx-vp9": (63, 32)}
_PIXELS = {1: "gray", 3: "rgb24", 4: "rgb0"}  # by number of channels; alpha is ignored
_SLOWEST, _FASTEST = 0.01, 1000  # frames per second
_FASTEST_GIF = 50  # players show a delay below 2/100 s as 10/100 s
_IO_BYTES = 1024 * 1024
_OVERSHOOT = 0.5  # of floats beyond 0 to 1, as interpolation makes it; more is another scale
_SMPTE170M, _LIMITED = 6, 1  # of av.video.reformatter, whose names came with later versions
_STACKLEVEL = 4  # a warning names the line that called FileBuilder.save_video

_VIDEO_OPTIONS = (
    "codec crf quality bitrate pixel_format pixelformat macro_block_size options".split()
)
_GIF_OPTIONS = ["loop"]

# Takes a picture, or None after the last, and returns packets for the container.
_Encode = Callable[[Any], "list[Any]"]


def save_video(
    files: FileBuilder, frames: Any, name: str, *, fps: float = 20, **options: Any
) -> FileDict:
    """Encodes `frames` as the video `name`: .mp4, .gif, .webm, .mov, .m4v, .mkv or .avi.

    frames: a stacked array (N, H, W) or (N, H, W, C), a list, or any iterable of frames (H, W) or
        (H, W, C) with C = 1 (gray), 3 (RGB) or 4 (RGBA; alpha is ignored). Floats are 0 to 1: up
        to 0.5 beyond is cut off, more is an error. Integers are 0 to 255, bools black and white.
    fps: frames per second; a GIF holds at most 50.
    codec: PyAV's name of the encoder: libx264 unless told, libvpx-vp9 for .webm.
    crf, quality, bitrate: at most one of them. Constant quality on the encoder's own scale (less
        is better); on a scale from 0 to 10 (more is better); bits per second.
    pixel_format, or pixelformat: of the encoded video; yuv420p unless told.
    macro_block_size: width and height become multiples of it, and of 2 for yuv420p, by repeating
        the last row and column.
    options: more of the encoder's own, such as {"preset": "slow"}.
    loop: how often a GIF plays; 0, as unless told, is for ever.
    Other options are of the file's record, such as tags.

    Raises InvalidInputError, and leaves nothing behind then.
    """
    container, default_codec = _format_of(name)
    rate = _rate(fps)
    av, np = _require_packages()
    asked = {
        option: options.pop(option) for option in _VIDEO_OPTIONS + _GIF_OPTIONS if option in options
    }
    coding = _coding(av, container, default_codec, rate, asked)
    arrays = _arrays(np, frames)
    first = next(arrays, None)
    if first is None:
        raise InvalidInputError(f"no frames for {os.fspath(name)!r}: a video needs at least one")
    canvas = _Canvas(av, np, first, coding.block)
    if canvas.padding:
        message = (
            f"{canvas.padding} by repeating the edge: {coding.codec} cannot encode it as it is"
        )
        warnings.warn(message, stacklevel=_STACKLEVEL - 1)
    # An MP4 says at its start, when all is written, where its index is.
    with files._open_writer(name, seekable=container != "gif", **options) as writer:
        output = _Output(writer)
        try:
            _write(av, output, coding, canvas, itertools.chain([first], arrays))
        except (av.error.FFmpegError, _UnfitError) as error:
            if output.error is not None:
                raise output.error from None
            raise InvalidInputError(
                f"{coding.codec} cannot encode {os.fspath(name)!r} this way: {error}"
            ) from error
        return writer.commit()


class _Output:
    """The writer, as PyAV uses it. PyAV replaces what write() raises by an error of its own."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.seek, self.tell, self.seekable = writer.seek, writer.tell, writer.seekable
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        try:
            count: int = self._writer.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise
        return count


class _UnfitError(Exception):
    """A container that cannot hold what this encoder makes."""


def _write(av: Any, file: Any, coding: _Coding, canvas: _Canvas, arrays: Any) -> None:
    with av.open(
        file, "w", format=coding.container, buffer_size=_IO_BYTES, options=coding.muxer
    ) as output:
        start = _start_gif if coding.container == "gif" else _start_video
        encode = start(av, output, coding, canvas)
        picture = None
        # A frame is converted while the one before is encoded; the next is asked for only after
        # that, since a generator may use the same array for all.
        with ThreadPoolExecutor(1) as converter:
            for index, array in enumerate(arrays):
                coming = converter.submit(canvas.picture, array, index)
                if picture is not None:
                    output.mux(encode(picture))
                picture = coming.result()
        output.mux(encode(picture))
        output.mux(encode(None))


# --- what was asked for --------------------------------------------------------------------------


def _format_of(name: str) -> tuple[str, str]:
    if not isinstance(name, (str, os.PathLike)):
        raise InvalidInputError(f"the video's name must be a str, not {type(name).__name__}")
    extension = os.path.splitext(name)[1].lower()
    if extension not in _FORMATS:
        raise InvalidInputError(
            f"{os.fspath(name)!r} has no known video extension: use {', '.join(_FORMATS)}"
        )
    return _FORMATS[extension]


def _rate(fps: Any) -> Fraction:
    if not _is_number(fps):
        raise InvalidInputError(f"fps must be a number, not {type(fps).__name__}")
    if not _SLOWEST <= fps <= _FASTEST:  # NaN, too
        raise InvalidInputError(
            f"fps is {fps}: use {_SLOWEST} to {_FASTEST} frames per second (20 unless told)"
        )
    return Fraction(float(fps)).limit_denominator(1001)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _require_packages() -> tuple[Any, Any]:
    try:
        import av
        import numpy
    except ImportError as error:
        raise MissingPackageError(
            f'save_video needs PyAV and numpy ({error}): pip install "ml-dash[video]"'
        ) from error
    return av, numpy


class _Coding(NamedTuple):
    """How to encode."""

    container: str
    codec: str
    pixel_format: str
    rate: Fraction  # frames per second
    block: int  # width and height are multiples of it
    bitrate: int | None
    options: dict[str, str]  # of the encoder
    muxer: dict[str, str]  # options of the container


def _coding(
    av: Any, container: str, default_codec: str, rate: Fraction, asked: dict[str, Any]
) -> _Coding:
    is_gif = container == "gif"
    for option in _VIDEO_OPTIONS if is_gif else _GIF_OPTIONS:
        if asked.get(option) is not None:
            raise InvalidInputError(f"{option} is no option of a {container} video")
    if is_gif:
        if rate > _FASTEST_GIF:
            message = f"a GIF shows at most {_FASTEST_GIF} frames per second: it plays slower"
            warnings.warn(message, stacklevel=_STACKLEVEL)
            rate = Fraction(_FASTEST_GIF)
        loop = _whole("loop", asked.get("loop"), 0, unless_told=0)
        return _Coding(container, "gif", "pal8", rate, 1, None, {}, {"loop": str(loop)})
    codec = _codec(av, asked.get("codec") or default_codec)
    wanted = asked.get("pixel_format") or asked.get("pixelformat")
    pixel_format = _pixel_format(av, codec, wanted)
    block = _whole("macro_block_size", asked.get("macro_block_size"), 1, unless_told=1)
    if av.VideoFormat(pixel_format).chroma_width(2) == 1:
        block = math.lcm(block, 2)
    bitrate, options = _quality(codec.name, asked)
    options.update((str(key), str(value)) for key, value in (asked.get("options") or {}).items())
    return _Coding(container, codec.name, pixel_format, rate, block, bitrate, options, {})


def _whole(option: str, value: Any, smallest: int, unless_told: int | None = None) -> int:
    if value is None and unless_told is not None:
        return unless_told
    if not isinstance(value, numbers.Integral) or value < smallest:
        raise InvalidInputError(f"{option} is {value!r}: use a whole number from {smallest}")
    return int(value)


def _codec(av: Any, name: str) -> Any:
    try:
        codec = av.Codec(name, "w")
    except ValueError:
        codec = None
    if codec is None or codec.type != "video":
        raise InvalidInputError(f"codec is {name!r}: PyAV here has no such video encoder")
    return codec


def _pixel_format(av: Any, codec: Any, wanted: str | None) -> str:
    known = [form.name for form in codec.video_formats or ()]
    if wanted is None:
        return "yuv420p" if "yuv420p" in known or not known else known[0]
    if known and wanted not in known:
        raise InvalidInputError(f"pixel_format is {wanted!r}: {codec.name} has {', '.join(known)}")
    return wanted


def _quality(codec: str, asked: dict[str, Any]) -> tuple[int | None, dict[str, str]]:
    """The bit rate, or encoder options that ask for constant quality."""
    given = [name for name in ("crf", "quality", "bitrate") if asked.get(name) is not None]
    if len(given) > 1:
        raise InvalidInputError(f"{' and '.join(given)} contradict each other: give one of them")
    if given == ["bitrate"]:
        return _whole("bitrate", asked["bitrate"], 1), {}
    if codec not in _CRF:
        if given:
            raise InvalidInputError(f"{given[0]} is not known of {codec}: use bitrate or options")
        return None, {}
    worst, crf = _CRF[codec]
    if given == ["crf"]:
        crf = _between("crf", asked["crf"], worst)
    elif given == ["quality"]:
        # Never 0: lossless H.264 is of a profile that browsers do not play.
        crf = max(1, round(worst * (1 - _between("quality", asked["quality"], 10) / 10)))
    return None, {"crf": str(crf)}


def _between(option: str, value: Any, largest: int) -> Any:
    if not _is_number(value) or not 0 <= value <= largest:
        raise InvalidInputError(f"{option} is {value!r}: use a number from 0 to {largest}")
    return value


# --- frames --------------------------------------------------------------------------------------


def _arrays(np: Any, frames: Any) -> Iterator[Any]:
    """The frames as arrays (H, W) or (H, W, C), one by one."""
    shape = getattr(frames, "shape", None)
    # (H, W, C) would pass for H gray frames that are C wide.
    if shape is not None and len(shape) == 3 and shape[0] and shape[2] in (3, 4):
        raise InvalidInputError(
            f"frames of shape {tuple(shape)} look like one picture: a video is (N, H, W) or"
            " (N, H, W, C); of one picture it is [picture]"
        )
    try:
        iterator = iter(frames)
    except TypeError:
        raise InvalidInputError(
            f"frames must be an array, a list or an iterable, not {type(frames).__name__}"
        ) from None
    for index, frame in enumerate(iterator):
        yield _array(np, frame, index)


def _array(np: Any, frame: Any, index: int) -> Any:
    try:
        array = np.asarray(frame)
    except Exception as error:  # whatever another library's __array__ raises
        raise InvalidInputError(f"frame {index} cannot be read as an array: {error}") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind not in "buif":
        raise InvalidInputError(
            f"frame {index} is of dtype {array.dtype}: use float (0 to 1), uint8 or bool"
        )
    if array.ndim == 3 and array.shape[0] in _PIXELS and array.shape[2] > 4:
        raise InvalidInputError(
            f"frame {index} has shape {array.shape}: channels come last, (H, W, C)"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _PIXELS):
        raise InvalidInputError(
            f"frame {index} has shape {array.shape}: use (H, W), (H, W, 3) or (H, W, 4)"
        )
    if array.size == 0:
        raise InvalidInputError(f"frame {index} has shape {array.shape}: no pixels")
    return array


class _Canvas:
    """Makes pictures of arrays that all have the shape of the first."""

    def __init__(self, av: Any, np: Any, first: Any, block: int) -> None:
        self._av = av
        self._np = np
        self._shape = first.shape
        height, width = first.shape[:2]
        self.height = -(-height // block) * block
        self.width = -(-width // block) * block
        self.pixels = _PIXELS[first.shape[2] if first.ndim == 3 else 1]
        self._floats: Any = None
        self.padding = ""  # what was added, in words
        if (self.height, self.width) != (height, width):
            self.padding = (
                f"frames of {width} x {height} pixels were padded to {self.width} x {self.height}"
            )

    def picture(self, array: Any, index: int) -> Any:
        if array.shape != self._shape:
            raise InvalidInputError(
                f"frame {index} has shape {array.shape}, those before {self._shape}: use one shape"
            )
        picture = self._av.VideoFrame(self.width, self.height, self.pixels)
        picture.pts = index
        plane = self._view(picture.planes[0])
        height, width = self._shape[:2]
        self._fill(plane[:height, :width], array, index)
        if self.padding:
            plane[height:, :width] = plane[height - 1 : height, :width]
            plane[:, width:] = plane[:, width - 1 : width]
        return picture

    def _view(self, plane: Any) -> Any:
        channels = self._shape[2:]
        strides = (plane.line_size, *channels, 1)
        shape = (self.height, self.width, *channels)
        return self._np.ndarray(shape, self._np.uint8, buffer=plane, strides=strides)

    def _fill(self, target: Any, array: Any, index: int) -> None:
        """Writes the array as bytes, without temporary copies."""
        np = self._np
        kind = array.dtype.kind
        if kind == "f":
            array = self._scaled(array, index)
        elif kind == "b":
            np.multiply(array, np.uint8(255), out=target)
            return
        elif array.dtype != np.uint8:
            low, high = array.min(), array.max()
            if low < 0 or high > 255:
                raise InvalidInputError(
                    f"frame {index} has integers from {low} to {high}: use 0 to 255"
                )
        np.copyto(target, array, casting="unsafe")

    def _scaled(self, array: Any, index: int) -> Any:
        """255 times the floats, rounded once they are cut off to integers."""
        np = self._np
        if self._floats is None:
            self._floats = np.empty(self._shape, np.float32)
        floats = self._floats
        with np.errstate(over="ignore"):
            np.copyto(floats, array, casting="same_kind")
        low, high = floats.min(), floats.max()
        if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
            problem = "NaN" if math.isnan(low) else f"floats from {low:.6g} to {high:.6g}"
            raise InvalidInputError(
                f"frame {index} has {problem}: floats are 0 to 1, integers 0 to 255"
            )
        np.multiply(floats, np.float32(255), out=floats)
        np.add(floats, np.float32(0.5), out=floats)
        if low < 0 or high > 1:
            np.clip(floats, 0, 255, out=floats)
        return floats


# --- encoders ------------------------------------------------------------------------------------


def _start_video(av: Any, output: Any, coding: _Coding, canvas: _Canvas) -> _Encode:
    try:
        stream = output.add_stream(coding.codec, rate=coding.rate, options=coding.options)
    except ValueError as error:
        raise _UnfitError(str(error)) from error
    stream.width, stream.height = canvas.width, canvas.height
    stream.pix_fmt = coding.pixel_format
    context = stream.codec_context
    context.thread_type = "AUTO"  # slices, PyAV's default, cost quality
    if coding.pixel_format.startswith("yuv4"):
        # How FFmpeg makes YUV of RGB; untagged, players take a large picture for BT.709.
        context.colorspace, context.color_range = _SMPTE170M, _LIMITED
    if coding.bitrate is not None:
        context.bit_rate = coding.bitrate
    time_base = 1 / coding.rate

    def encode(picture: Any) -> list[Any]:
        if picture is not None:
            picture.time_base = time_base
        packets: list[Any] = stream.encode(picture)
        return packets

    return encode


def _start_gif(av: Any, output: Any, coding: _Coding, canvas: _Canvas) -> _Encode:
    """Each frame gets the 256 colours that suit it best, from FFmpeg's palette filters."""
    stream = output.add_stream(coding.codec, rate=coding.rate)
    stream.width, stream.height = canvas.width, canvas.height
    stream.pix_fmt = coding.pixel_format
    ticks = Fraction(1, 100)  # a GIF's unit of time
    stream.codec_context.time_base = ticks
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=canvas.width, height=canvas.height, format=canvas.pixels, time_base=ticks
    )
    split, use = graph.add("split"), graph.add("paletteuse", "new=1")
    palette, sink = graph.add("palettegen", "stats_mode=single"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()

    def encode(picture: Any) -> list[Any]:
        if picture is not None:
            # Rounding the time of each, not its duration, keeps the whole at the right length.
            picture.pts = round(picture.pts / coding.rate * 100)
            picture.time_base = ticks
        graph.push(picture)
        packets: list[Any] = []
        try:
            while True:
                packets += stream.encode(graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            pass
        if picture is None:
            packets += stream.encode(None)
        return packets

    return encode
