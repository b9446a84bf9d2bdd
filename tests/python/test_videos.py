"""save_video: formats, frames of every shape and type, timing, options, and what is refused."""

from __future__ import annotations

import io
import warnings

import pytest
from ml_dash import Experiment
from ml_dash.exceptions import InvalidInputError, MlDashError, TooLargeError

av = pytest.importorskip("av")
np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

GRADIENT = np.tile(np.linspace(0, 1, 64), (48, 1))  # (48, 64), floats


def save(experiment, frames, name="clip.mp4", **options):
    record = experiment.files(prefix="/videos").save_video(frames, name, **options)
    return experiment.files(file_id=record["id"]).read_bytes()


def decode(data):
    """Stream and frames (RGB arrays) of an encoded video."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return stream, [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def durations(data):
    """Milliseconds of each frame of a GIF."""
    image = Image.open(io.BytesIO(data))
    found = []
    for index in range(image.n_frames):
        image.seek(index)
        found.append(image.info["duration"])
    return found


def blocks():
    """A colour picture that 4:2:0 keeps, and its bytes."""
    picture = np.zeros((48, 64, 3))
    picture[:, :32] = [1, 0.5, 0]
    picture[:, 32:] = [0, 0.25, 1]
    return picture, np.round(picture * 255).astype(int)


@pytest.mark.parametrize("kind", "mp4 mov mkv avi webm m4v gif".split())
def test_formats(experiment, kind):
    picture, expected = blocks()
    stream, frames = decode(save(experiment, [picture] * 5, f"clip.{kind}"))
    assert len(frames) == 5
    assert stream.average_rate == 20
    assert stream.codec_context.name == {"gif": "gif", "webm": "vp9"}.get(kind, "h264")
    near_edge = np.abs(np.arange(64) - 31.5) < 3
    assert np.abs(frames[2] - expected)[:, ~near_edge].max() <= 4


def test_mp4_is_what_browsers_play(experiment):
    stream, _ = decode(save(experiment, [blocks()[0]] * 3))
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert stream.codec_context.codec_tag == "avc1"


FLOATS = np.stack([GRADIENT * step for step in (0.2, 0.6, 1.0)])
BYTES = np.round(FLOATS * 255)


@pytest.mark.parametrize("kind", ["mp4", "gif"])
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(FLOATS, id="stacked gray floats"),
        pytest.param(FLOATS.astype(np.float32), id="float32"),
        pytest.param(FLOATS.astype(np.float16), id="float16"),
        pytest.param(list(FLOATS), id="list"),
        pytest.param(tuple(FLOATS), id="tuple"),
        pytest.param(FLOATS[..., None], id="(N, H, W, 1)"),
        pytest.param(np.repeat(FLOATS[..., None], 3, axis=3), id="(N, H, W, 3)"),
        pytest.param(
            np.concatenate([np.repeat(FLOATS[..., None], 3, axis=3), FLOATS[..., None] * 0], 3),
            id="RGBA, transparent",
        ),
        pytest.param(BYTES.astype(np.uint8), id="uint8"),
        pytest.param(BYTES.astype(np.int64), id="int64"),
        pytest.param(BYTES.astype(np.uint8).tolist(), id="nested lists"),
        pytest.param(np.asfortranarray(FLOATS), id="not contiguous"),
        pytest.param([FLOATS[0], BYTES[1].astype(np.uint8), FLOATS[2][..., None]], id="mixed"),
    ],
)
def test_frames(experiment, frames, kind):
    _, decoded = decode(save(experiment, frames, f"clip.{kind}"))
    assert len(decoded) == 3
    for index in range(3):
        assert np.abs(decoded[index] - BYTES[index][..., None]).max() <= 4


def test_bool_frames(experiment):
    frame = np.zeros((32, 32), bool)
    frame[:, 16:] = True
    _, frames = decode(save(experiment, [frame], "mask.gif"))
    assert frames[0][0, 0].tolist() == [0, 0, 0]
    assert frames[0][0, 31].tolist() == [255, 255, 255]


def test_torch_tensors(experiment):
    torch = pytest.importorskip("torch")
    for frames in (torch.from_numpy(FLOATS), list(torch.from_numpy(FLOATS))):
        _, decoded = decode(save(experiment, frames))
        assert len(decoded) == 3
        assert np.abs(decoded[1] - BYTES[1][..., None]).max() <= 4
    with pytest.raises(InvalidInputError, match="requires grad"):
        save(experiment, torch.zeros(2, 8, 8, requires_grad=True))


def test_a_generator_that_uses_one_array(experiment):
    def frames():
        frame = np.zeros((48, 64), np.uint8)
        for value in range(0, 250, 10):
            frame[:] = value
            yield frame

    _, decoded = decode(save(experiment, frames()))
    assert [round(frame.mean() / 10) for frame in decoded] == list(range(25))


def test_a_generator_is_never_ahead(experiment):
    """Frame by frame: no more than a few are alive at any time."""
    alive, most = 0, 0

    class Frame:
        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __array__(self, dtype=None, copy=None):
            return FLOATS[0]

        def __del__(self):
            nonlocal alive
            alive -= 1

    save(experiment, (Frame() for _ in range(100)))
    assert most <= 3


def test_floats_a_little_beyond_are_cut_off(experiment):
    frame = np.full((32, 32), 1.2)
    frame[:, 16:] = -0.2
    _, frames = decode(save(experiment, [frame], "over.gif"))
    assert frames[0][0, 0, 0] == 255
    assert frames[0][0, 31, 0] == 0


def test_odd_sizes_are_padded_and_said_so(experiment):
    frame = np.zeros((31, 33))
    frame[-1, :] = 1
    with pytest.warns(UserWarning, match="33 x 31 pixels were padded to 34 x 32") as caught:
        data = save(experiment, [frame] * 3)
    assert caught[0].filename == __file__
    stream, frames = decode(data)
    assert (stream.width, stream.height) == (34, 32)
    assert frames[0][30:, :, 0].min() > 200  # the last row, repeated
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(save(experiment, [frame], "odd.gif"))[0].height == 31
        stream, _ = decode(save(experiment, [frame], "odd.mkv", pixel_format="yuv444p"))
    assert (stream.width, stream.height) == (33, 31)


def test_macro_block_size(experiment):
    with pytest.warns(UserWarning, match="64 x 64"):
        stream, _ = decode(save(experiment, FLOATS, macro_block_size=32))
    assert (stream.width, stream.height) == (64, 64)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(20, [50] * 6), (30, [30, 40, 30, 30, 40, 30]), (7.5, [130, 140, 130] * 2), (1, [1000] * 6)],
)
def test_durations_of_a_gif(experiment, fps, expected):
    frames = (np.full((16, 16), 40 * step, np.uint8) for step in range(6))
    data = save(experiment, frames, "clip.gif", fps=fps)
    assert durations(data) == expected
    assert Image.open(io.BytesIO(data)).info["loop"] == 0


def test_a_gif_faster_than_players(experiment):
    with pytest.warns(UserWarning, match="at most 50") as caught:
        data = save(experiment, FLOATS, "clip.gif", fps=100, loop=2)
    assert caught[0].filename == __file__
    assert durations(data) == [20] * 3
    assert Image.open(io.BytesIO(data)).info["loop"] == 2


@pytest.mark.parametrize("fps", [30, 0.5, 29.97, np.float32(12), 240])
def test_fps(experiment, fps):
    stream, frames = decode(save(experiment, FLOATS, fps=fps))
    assert len(frames) == 3
    assert float(stream.average_rate) == pytest.approx(float(fps), rel=1e-3)


def test_colours_of_a_gif_are_those_of_the_frame(experiment):
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    frames = [palette[rng.integers(0, 200, (40, 40))] for _ in range(4)]
    _, decoded = decode(save(experiment, frames, "clip.gif"))
    for frame, found in zip(frames, decoded):
        assert np.abs(frame.astype(int) - found).max() <= 1


def test_encoder_options(experiment):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    default = len(save(experiment, noise))
    assert len(save(experiment, noise, crf=40)) < default
    assert len(save(experiment, noise, quality=10)) > default
    assert len(save(experiment, noise, quality=1)) < default
    assert len(save(experiment, noise, bitrate=50_000)) < default
    assert len(save(experiment, noise, options={"preset": "ultrafast"})) != default
    stream, _ = decode(save(experiment, noise, codec="mpeg4", pixelformat="yuv420p"))
    assert stream.codec_context.name == "mpeg4"


def test_the_record_of_files(experiment):
    record = experiment.files(prefix="/v", tags=["clip"]).save_video(
        FLOATS, "clip.mp4", metadata={"epoch": 3}
    )
    assert record["tags"] == ["clip"]
    assert record["metadata"] == {"epoch": 3}
    assert record["contentType"] == "video/mp4"


OK = [np.zeros((16, 16, 3), np.uint8)] * 3
BAD = {
    "no extension": (OK, "clip", {}, "no known video extension"),
    "unknown extension": (OK, "clip.xyz", {}, "xyz.*[.]mp4.*[.]gif"),
    "fps 0": (OK, "clip.mp4", {"fps": 0}, "fps is 0"),
    "fps below 0": (OK, "clip.gif", {"fps": -3}, "fps is -3"),
    "fps NaN": (OK, "clip.mp4", {"fps": float("nan")}, "fps is nan"),
    "fps infinite": (OK, "clip.mp4", {"fps": float("inf")}, "fps is inf"),
    "fps text": (OK, "clip.mp4", {"fps": "20"}, "fps must be a number"),
    "fps bool": (OK, "clip.mp4", {"fps": True}, "fps must be a number"),
    "no frames": ([], "clip.mp4", {}, "no frames"),
    "empty stack": (np.zeros((0, 8, 8)), "clip.gif", {}, "no frames"),
    "empty generator": (iter(()), "clip.mp4", {}, "no frames"),
    "no pixels": (np.zeros((3, 0, 8)), "clip.mp4", {}, "no pixels"),
    "one picture": (np.zeros((16, 16, 3)), "clip.mp4", {}, "one picture"),
    "one gray picture": (np.zeros((16, 16)), "clip.mp4", {}, "frame 0 has shape"),
    "a number": (5, "clip.mp4", {}, "not int"),
    "channels first": (np.zeros((2, 3, 16, 16)), "clip.mp4", {}, "channels come last"),
    "two channels": (np.zeros((2, 16, 16, 2)), "clip.mp4", {}, "use .H, W"),
    "other shapes": (OK + [np.zeros((16, 18, 3))], "clip.mp4", {}, "frame 3 has shape .16, 18"),
    "other channels": (OK + [np.zeros((16, 16))], "clip.gif", {}, "frame 3 has shape .16, 16"),
    "object": ([np.array([[None]])], "clip.mp4", {}, "dtype object"),
    "complex": ([np.zeros((8, 8), complex)], "clip.mp4", {}, "dtype complex"),
    "ragged": ([[[1, 2], [3]]], "clip.mp4", {}, "frame 0"),
    "text": (["ab"], "clip.mp4", {}, "dtype"),
    "floats to 255": (OK + [np.full((16, 16, 3), 255.0)], "clip.mp4", {}, "frame 3.*0 to 1"),
    "floats from -1": ([np.full((8, 8), -1.0)], "clip.gif", {}, "frame 0.*0 to 1"),
    "NaN": ([np.full((8, 8), np.nan)], "clip.mp4", {}, "frame 0 has NaN"),
    "infinity": ([np.full((8, 8), np.inf)], "clip.mp4", {}, "frame 0 has floats"),
    "beyond float32": ([np.full((8, 8), 1e300)], "clip.mp4", {}, "frame 0 has floats"),
    "integers above": ([np.full((8, 8), 256)], "clip.mp4", {}, "integers from 256 to 256"),
    "integers below": ([np.full((8, 8), -1)], "clip.gif", {}, "integers from -1"),
    "codec": (OK, "clip.mp4", {"codec": "nope"}, "no such video encoder"),
    "audio codec": (OK, "clip.mp4", {"codec": "aac"}, "no such video encoder"),
    "codec of another container": (OK, "clip.webm", {"codec": "libx264"}, "libx264"),
    "pixel format": (OK, "clip.mp4", {"pixel_format": "nope"}, "yuv420p"),
    "crf": (OK, "clip.mp4", {"crf": 99}, "0 to 51"),
    "crf and quality": (OK, "clip.mp4", {"crf": 9, "quality": 9}, "contradict"),
    "bitrate": (OK, "clip.mp4", {"bitrate": 0}, "bitrate is 0"),
    "macro_block_size": (OK, "clip.mp4", {"macro_block_size": 0}, "macro_block_size is 0"),
    "encoder option": (OK, "clip.mp4", {"options": {"preset": "nope"}}, "libx264 cannot encode"),
    "codec of a GIF": (OK, "clip.gif", {"codec": "libx264"}, "codec is no option"),
    "loop of an MP4": (OK, "clip.mp4", {"loop": 1}, "loop is no option"),
    "name": (OK, "../clip.mp4", {}, "[.][.]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing_behind(experiment, stored_files, case):
    frames, name, options, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        experiment.files.save_video(frames, name, **options)
    assert isinstance(caught.value, MlDashError)
    assert "\n" not in str(caught.value)
    assert experiment.files().list() == []
    assert stored_files(experiment) == []


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_an_error_of_the_generator_is_the_caller_s(experiment, stored_files, kind):
    def frames():
        yield from OK
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        experiment.files.save_video(frames(), f"clip.{kind}")
    assert stored_files(experiment) == []


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_an_error_of_the_store_is_told_as_it_is(stored_files, kind):
    noise = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8)
    with Experiment("a", "b", local_path="root", max_file_size=100_000).run as experiment:
        with pytest.raises(TooLargeError):
            experiment.files.save_video(noise, f"clip.{kind}")
        assert stored_files(experiment) == []


def test_unknown_options(experiment):
    with pytest.raises(TypeError, match="preset"):
        save(experiment, FLOATS, preset="slow")


def test_without_av(run_python):
    run_python(
        """
        import sys
        sys.modules["av"] = None
        from ml_dash import Experiment

        with Experiment("a", "b", local_path="root").run as experiment:
            try:
                experiment.files.save_video([[[0, 1]]], "clip.mp4")
            except ImportError as error:
                assert 'pip install "ml-dash[video]"' in str(error)
            else:
                raise AssertionError
        """
    )
