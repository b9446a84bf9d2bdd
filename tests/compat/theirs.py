"""Runs in the environment of a published client: writes, changes or reads a folder with its API.

python theirs.py ACTION ROOT [JSON] -- prints one line "RESULT {json}" at the end.
"""

import json
import os
import sys
import tempfile

import ml_dash
from ml_dash import Experiment
from ml_dash.storage import LocalStorage

OLD = not hasattr(ml_dash, "RUN")  # 0.6.1: name, project and folder instead of a prefix
PREFIX = "alice/proj/group/run"
NAN = float("nan")


def open_experiment(root, **more):
    if OLD:
        if "readme" in more:
            more["description"] = more.pop("readme")
        return Experiment("run", "proj", folder="/group", local_path=root, **more)
    return Experiment(prefix=PREFIX, dash_root=root, **more)


def storage_args():
    return ("proj", "run") if OLD else ("alice", "proj", PREFIX)


def directory(root):
    return os.path.join(root, "group/proj/run" if OLD else PREFIX)


def save(experiment, text, folder, name, **record):
    """Saves a text file; returns the client's record of it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, name)
        with open(path, "w") as f:
            f.write(text)
        if OLD:
            experiment.files(file_path=path, prefix=folder, **record).save()
        else:
            experiment.files(folder).upload(path, to=name, **record)
            experiment.flush()


def log_points(experiment, name, points, **told):
    metric = experiment.metrics(name, **told)
    for point in points:
        if OLD:
            metric.append(**point)
        else:
            metric.log(**point)


def write(root, _):
    experiment = open_experiment(
        root,
        readme="what it is",
        tags=["a", "b"],
        bindrs=["x"],
        metadata={"seed": 7, "nested": {"k": [1, None]}, "bad": NAN},
    )
    with experiment.run as e:
        e.params.set(lr=0.1, model={"depth": 3, "name": "néť"}, worst=float("inf"), empty={})
        if OLD:
            e.log("first", level="info", metadata={"k": 1})
            e.log().warn("second", code=2)
        else:
            e.log("first", level="info", metadata={"k": 1})
            e.logs.warn("second", code=2)
        e.log("dritte Zeile: äöü \u2603", level="error")
        points = [{"value": 1 / (i + 1), "step": i} for i in range(7)] + [{"value": NAN}]
        log_points(e, "loss", points, description="d", tags=["t"], metadata={"unit": 1})
        log_points(e, None, [{"epoch": 1}])
        if not OLD:
            for i in range(6):
                e.tracks("robot/pos").append(x=i, p={"y": 2 * i}, _ts=float(10 - i))
        details = {"description": "d", "tags": ["t1", "t2"], "metadata": {"k": [1, 2], "nan": NAN}}
        save(e, "hello a", "/models/best", "a.txt", **details)
        save(e, "at the root", "/", "metadata.json")  # a name that we would refuse
        save(e, "one", "models", "v.txt")
        save(e, "two", "models", "v.txt")
        save(e, "to be deleted", "/models", "gone.txt")
        if not OLD:  # 0.6.1 cannot delete
            e.files("models").delete("gone.txt")
    return {"directory": directory(root)}


def change(root, changes):
    """Goes on in a folder of ours, as a user of the client would."""
    with open_experiment(root, tags=["theirs"]).run as e:
        e.params.set(lr=0.5, theirs=1)
        e.log("theirs")
        log_points(e, "loss", [{"value": 100.0}, {"value": 200.0}])
        save(e, "their version", changes["folder"], changes["name"], description="theirs")
        save(e, "their new one", "/new", "new.txt")
        if changes.get("delete"):
            LocalStorage(root).delete_file(*storage_args(), changes["delete"])
        if changes.get("update"):
            LocalStorage(root).update_file_metadata(
                *storage_args(), changes["update"], description="updated", tags=["u"]
            )
    return {"directory": directory(root)}


def read(root, names):
    """Everything, through the client's own reading code."""
    storage = LocalStorage(root)
    files, contents = storage.list_files(*storage_args()), {}
    with tempfile.TemporaryDirectory() as scratch:
        for record in files:
            copy = storage.read_file(
                *storage_args(), record["id"], dest_path=os.path.join(scratch, record["id"])
            )
            with open(copy, "rb") as f:
                contents[record["id"]] = f.read().decode("latin-1")
    experiment = open_experiment(root)
    with experiment.run as e:
        metrics = {
            name: e.metrics(name).read(start_index=0, limit=100000)  # "None" is the unnamed one
            for name in names["metrics"]
        }
        found = {
            "params": e.params.get(flatten=True),
            "files": files,
            "contents": contents,
            "metrics": metrics,
            "metric_list": storage.list_metrics(*storage_args()),
            "stats": {name: storage.get_metric_stats(*storage_args(), name) for name in metrics},
        }
        if not OLD:
            found["tracks"] = storage.list_tracks(*storage_args())
            found["entries"] = {
                topic: storage.read_track_data(*storage_args(), topic)["entries"]
                for topic in names["tracks"]
            }
    logs = os.path.join(directory(root), "logs/logs.jsonl")  # they have no code that reads it
    if os.path.exists(logs):
        with open(logs) as f:
            found["logs"] = [json.loads(line) for line in f]
    with open(os.path.join(directory(root), "experiment.json")) as f:
        found["experiment"] = json.load(f)
    return found


if __name__ == "__main__":
    action, folder = sys.argv[1:3]
    argument = json.loads(sys.argv[3]) if len(sys.argv) > 3 else None
    result = {"write": write, "change": change, "read": read}[action](folder, argument)
    print("\nRESULT " + json.dumps(result))
