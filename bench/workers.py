"""One piece of measured work, in a process of its own: workers.py NAME JSON-arguments.

Prints one JSON object. Runs with the interpreter of whoever is measured, so nothing but the
standard library is imported up here. Seconds are wall time; `rss_growth_mb` is peak minus begin.
"""

import gc
import json
import os
import sys
import threading
import time


def rss_reset():
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass
    return status_kb("VmRSS")


def status_kb(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def timed(work):
    """Wall seconds of work() and how far the process's memory rose above where it stood."""
    before = rss_reset()
    start = time.perf_counter()
    extra = work() or {}
    seconds = time.perf_counter() - start
    return dict(extra, seconds=seconds, rss_growth_mb=(status_kb("VmHWM") - before) / 1024)


def ours(root, **options):
    import ml_dash

    return ml_dash.Experiment(
        name="bench", project="bench", local_path=root, progress=False, **options
    )


def finish(experiment):
    start = time.perf_counter()
    experiment.run.complete()
    return {"flush_seconds": time.perf_counter() - start}


def in_run(experiment, work):
    experiment.run.start()
    result = timed(lambda: work(experiment))
    return dict(result, **finish(experiment))


# files


def save_one_ours(root, source):
    return in_run(ours(root), lambda e: e.files(source, prefix="/models").save() and None)


def old_experiment(root):
    import ml_dash

    return ml_dash.Experiment(name="bench", project="bench", local_path=root)


def save_one_mldash061(root, source):
    with old_experiment(root).run as e:
        return timed(lambda: e.files(file_path=source, prefix="/models").save() and None)


def mlflow_run(root):
    import logging

    logging.disable(logging.WARNING)
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    mlflow.set_tracking_uri("sqlite:///" + os.path.join(root, "mlflow.db"))
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(
        "bench", artifact_location="file://" + root + "/artifacts"
    )
    return client, client.create_run(experiment).info.run_id


def save_one_mlflow(root, source):
    os.makedirs(root, exist_ok=True)
    client, run = mlflow_run(root)
    return timed(lambda: client.log_artifact(run, source, "models"))


def sources_in(folder, count):
    return [os.path.join(folder, f"{i}.bin") for i in range(count)]


def saves_ours(root, folder, count, durable=False):
    def work(e):
        options = {"durable": True} if durable else {}
        for i, source in enumerate(sources_in(folder, count)):
            e.files(source, prefix="/data", tags=["bench"], metadata={"i": i}, **options).save()

    return in_run(ours(root), work)


def saves_marked(root, folder, count, part):
    """For strace: the first and the last `part` saves stand between calls that no library makes."""
    with ours(root).run as e:
        for i, source in enumerate(sources_in(folder, count)):
            if i in (0, part, count - part):
                os.access(f"/bench-mark-{i}", os.F_OK)
            e.files(source, prefix="/data", tags=["bench"], metadata={"i": i}).save()
        os.access(f"/bench-mark-{count}", os.F_OK)
    return {}


def saves_mldash061(root, folder, count):
    def work():
        for i, source in enumerate(sources_in(folder, count)):
            e.files(file_path=source, prefix="/data", tags=["bench"], metadata={"i": i}).save()

    with old_experiment(root).run as e:
        return timed(work)


def saves_mlflow(root, folder, count):
    os.makedirs(root, exist_ok=True)
    client, run = mlflow_run(root)

    def work():
        for source in sources_in(folder, count):
            client.log_artifact(run, source, "data")

    return timed(work)


def list_ours(root, count):
    """Saves `count` small files, then lists them in this process and in a fresh open."""
    with ours(root).run as e:
        for i in range(count):
            e.files(prefix="/data", tags=["bench"], metadata={"i": i}).save_blob(
                b"x", to=f"{i}.bin"
            )
        best = min(timed(lambda: check_count(e, count))["seconds"] for _ in range(5))
    return {"seconds": best}


def check_count(e, count):
    assert len(e.files().list()) == count


def open_and_list_ours(root, count):
    import ml_dash  # its import is measured elsewhere

    ml_dash.Experiment  # noqa: B018
    start = time.perf_counter()
    e = ours(root)
    e.run.start()
    opened = time.perf_counter()
    check_count(e, count)
    end = time.perf_counter()
    e.run.complete()
    return {"seconds": end - start, "open_seconds": opened - start, "list_seconds": end - opened}


# metrics


def points_ours(root, count, busy=False):
    stop = threading.Event()

    def spin():
        x = 0
        while not stop.is_set():
            x += 1

    def work(e):
        metric = e.metrics("loss")
        append = metric.append
        for i in range(count):
            append(value=0.5, step=i)

    if busy:
        threading.Thread(target=spin, daemon=True).start()
    result = in_run(ours(root), work)
    stop.set()
    return result


def points_mldash011(root, count):
    import ml_dash

    with ml_dash.Experiment(prefix="bench/bench/run", dash_root=root).run as e:

        def work():
            metric = e.metrics("loss")
            for i in range(count):
                metric.log(value=0.5, step=i)
            e.flush()  # its points are in memory until then

        return timed(work)


def points_trackio(root, count):
    os.environ["TRACKIO_DIR"] = root
    import contextlib
    import io

    import trackio

    with contextlib.redirect_stdout(io.StringIO()):
        trackio.init(project="bench")

        def work():
            for i in range(count):
                trackio.log({"value": 0.5, "step_": i})

        result = timed(work)
        start = time.perf_counter()
        trackio.finish()
    return dict(result, flush_seconds=time.perf_counter() - start)


def batch_ours(root, count):
    points = [{"value": 0.5 + i * 1e-6, "step": i} for i in range(count)]
    return in_run(ours(root), lambda e: e.metrics("loss").append_batch(points) and None)


# torch and video


def state_dict(megabytes):
    import torch

    torch.set_num_threads(1)
    each = 25 * 1024 * 1024 // 4
    return {f"layer{i}": torch.rand(each) for i in range(megabytes // 25)}


def torch_ours(root, megabytes):
    state = state_dict(megabytes)
    return in_run(ours(root), lambda e: e.files.save_torch(state, "model.pt") and None)


def torch_save(root, megabytes):
    import torch

    state = state_dict(megabytes)
    os.makedirs(root, exist_ok=True)
    return timed(lambda: torch.save(state, os.path.join(root, "model.pt")))


def torch_background(root, megabytes):
    """How long the call takes, beside a plain copy of the tensors in the same process."""
    state = state_dict(megabytes)
    e = ours(root)
    e.run.start()
    copies = []
    calls = []
    for i in range(3):
        start = time.perf_counter()
        copy = {k: v.clone() for k, v in state.items()}
        copies.append(time.perf_counter() - start)
        del copy
        start = time.perf_counter()
        handle = e.files.save_torch(state, f"model-{i}.pt", background=True)
        calls.append(time.perf_counter() - start)
        handle.result()
    e.run.complete()
    return {"seconds": sorted(calls)[1], "copy_seconds": sorted(copies)[1]}


def frames(count):
    import numpy as np

    rng = np.random.default_rng(1)
    base = rng.random((480, 640, 3))
    return np.stack([np.roll(base, i, axis=1) for i in range(count)])


def video_ours(root, count):
    stack = frames(count)
    return in_run(ours(root), lambda e: e.files(prefix="/v").save_video(stack, "a.mp4") and None)


def video_pyav(root, count):
    """The same encoder with the same settings, fed directly."""
    import av
    import numpy as np

    stack = frames(count)
    os.makedirs(root, exist_ok=True)

    def work():
        with av.open(os.path.join(root, "a.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=20)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            for image in stack:
                data = np.round(image * 255).astype(np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(data, format="rgb24")))
            out.mux(stream.encode())

    return timed(work)


def video_imageio(root, count):
    import imageio

    stack = frames(count)
    os.makedirs(root, exist_ok=True)

    def work():
        with imageio.get_writer(os.path.join(root, "a.mp4"), fps=20) as out:
            for image in stack:
                out.append_data((image * 255).round().astype("uint8"))

    return timed(work)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
