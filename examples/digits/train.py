"""Trains a small network on scikit-learn's handwritten digits and keeps everything about it.

    python examples/digits/train.py [FOLDER]

FOLDER (.ml-dash unless told) is where the experiment goes. Needs scikit-learn, matplotlib and PyAV.
"""

from __future__ import annotations

import os
import pickle
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window

import matplotlib.pyplot as plt
import numpy as np
from ml_dash import Experiment
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SETTINGS = {
    "hidden_layer_sizes": (64,),
    "solver": "sgd",
    "learning_rate_init": 0.02,
    "momentum": 0.9,
    "alpha": 1e-4,
    "batch_size": 32,
    "random_state": 0,
}
EPOCHS = 60
CHECKPOINT_EVERY = 20


def main(root: str = ".ml-dash") -> None:
    images, labels = load_digits(return_X_y=True)
    data = train_test_split(images / 16, labels, test_size=0.25, stratify=labels, random_state=0)
    experiment = Experiment(
        time.strftime("mlp-%Y%m%d-%H%M%S"),
        "digits",
        local_path=root,
        description="Handwritten digits, 8 x 8 pixels, one hidden layer",
        tags=["demo"],
    )
    with experiment.run:
        print(f"training on {len(data[0])} digits, testing on {len(data[1])}\n")
        model, weights = train(experiment, *data)
        draw(experiment, model, weights, data[1], data[3])
    show(experiment)
    check_best(experiment, data[1], data[3])
    print_where_to_look(experiment)


def train(experiment, train_x, test_x, train_y, test_y):
    """Returns the model, and its first layer's weights after each epoch."""
    experiment.params.set(model=SETTINGS, epochs=EPOCHS, data={"train": len(train_x)})
    model = MLPClassifier(**SETTINGS)
    weights, best = [], 0.0
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(train_x, train_y, classes=range(10))
        loss, accuracy = float(model.loss_), float(model.score(test_x, test_y))
        weights.append(model.coefs_[0].T.copy())

        experiment.metrics("train_loss").append(value=loss, epoch=epoch)
        experiment.metrics("test_accuracy").append(value=accuracy, epoch=epoch)

        if epoch % CHECKPOINT_EVERY == 0:
            experiment.files(
                prefix="/checkpoints", tags=["checkpoint"], metadata={"epoch": epoch}
            ).save_pkl(model, f"epoch_{epoch:03d}.pkl")
            experiment.log(f"epoch {epoch}: checkpoint saved", loss=loss)

        if accuracy > best:
            best = accuracy
            # The same name again is a new version, which replaces the one before.
            experiment.files(
                prefix="/models",
                description=f"Best (accuracy {accuracy:.4f})",
                tags=["best"],
                metadata={"epoch": epoch, "accuracy": accuracy},
            ).save_pkl(model, "best_model.pkl")
            experiment.logs.info(f"epoch {epoch}: best so far, {accuracy:.2%}", loss=loss)

        if epoch == 1 or epoch % 10 == 0:
            bar = "#" * round(40 * accuracy)
            print(f"  epoch {epoch:3d}   loss {loss:.4f}   accuracy {accuracy:6.2%}  {bar}")
    experiment.files("models/best_model.pkl").alias("best")
    return model, weights


def draw(experiment, model, weights, test_x, test_y) -> None:
    """Figures and a video, straight into the experiment."""
    figures = experiment.files(prefix="/visualizations")

    loss = [point["data"]["value"] for point in experiment.metrics("train_loss").read()["data"]]
    plt.figure(figsize=(6, 4))
    plt.semilogy(range(1, len(loss) + 1), loss)
    plt.title("Training loss")
    plt.xlabel("epoch")
    plt.grid(alpha=0.3)
    figures.save_fig("loss_curve.png", dpi=150)

    figure, axes = plt.subplots(figsize=(5, 5))
    table = confusion_matrix(test_y, model.predict(test_x))
    axes.imshow(np.sqrt(table), cmap="Blues")
    for (row, column), count in np.ndenumerate(table):
        if count:
            colour = "white" if count > 20 else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour)
    axes.set(xlabel="predicted", ylabel="written", xticks=range(10), yticks=range(10))
    figures.save_fig(figure, "confusion_matrix.png", bbox_inches="tight")

    # A generator: one frame is in memory at a time.
    experiment.files(prefix="/videos", description="First layer, one frame per epoch").save_video(
        weight_pictures(weights), "weights.mp4", fps=20
    )


def weight_pictures(weights: list[np.ndarray]) -> Iterator[np.ndarray]:
    """For each epoch a picture of 8 x 8 hidden units, each an 8 x 8 tile: blue is positive."""
    colours = plt.get_cmap("RdBu")
    limit = np.abs(weights[-1]).max()
    for layer in weights:
        tiles = np.zeros((8, 9, 8, 9))
        tiles[:, :8, :, :8] = (layer / limit).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3)
        picture = tiles.reshape(72, 72)[:71, :71]
        yield colours(np.kron(picture / 2 + 0.5, np.ones((6, 6))))[..., :3]


def show(experiment) -> None:
    print("\nWhat was kept\n")
    for file in experiment.files().list():
        path = f"{file['path']}/{file['filename']}"
        tags = ", ".join(file["tags"] + [f"@{alias}" for alias in file["aliases"]])
        print(f"  {path:40s} {file['sizeBytes']:9,d} bytes   {tags}")
    print(f"\n  {len(experiment.params.get())} parameters, metrics:")
    for metric in experiment.metrics("train_loss").list_all():
        print(f"    {metric['name']:16s} {metric['totalDataPoints']} points")


def check_best(experiment, test_x, test_y) -> None:
    """Downloads the best model and tries it."""
    best = next(file for file in experiment.files().list() if "best" in file["tags"])
    with tempfile.TemporaryDirectory() as folder:
        path = experiment.files(file_id=best["id"], dest_path=f"{folder}/best.pkl").download()
        model = pickle.loads(Path(path).read_bytes())
    accuracy = model.score(test_x, test_y)
    assert accuracy == best["metadata"]["accuracy"]
    print("\nThe best model, downloaded, its SHA-256 checked\n")
    print(f"  {best['checksum']}")
    print(f"  of epoch {best['metadata']['epoch']}: {accuracy:.2%} of the test digits are right")


def print_where_to_look(experiment) -> None:
    folder = Path(experiment.directory)
    print(f"\nWhere it is\n\n  {os.path.relpath(folder)}/")
    print_tree(folder, "  ")
    command = Path(sys.executable).with_name("ml-dash")
    program = os.path.relpath(command) if command.exists() else "ml-dash"
    where = shlex.quote(os.path.relpath(folder))
    print(f"\nWhere to look\n\n  {program} show {where}")
    print(f"  {program} list {where}")
    print(f"  {program} verify {where}\n")


def print_tree(folder: Path, indent: str) -> None:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        last = entry == entries[-1]
        below = list(entry.iterdir()) if entry.is_dir() else []
        # {id}/{filename} on one line
        name = f"{entry.name}/{below[0].name}" if len(below) == 1 and below[0].is_file() else None
        print(f"{indent}{'└── ' if last else '├── '}{name or entry.name + '/' * entry.is_dir()}")
        if below and name is None:
            print_tree(entry, indent + ("    " if last else "│   "))


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main(*sys.argv[1:])
