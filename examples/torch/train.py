"""Trains a small convolutional network on handwritten digits, with checkpoints in the background.

    python examples/torch/train.py [FOLDER]

FOLDER (.ml-dash unless told) is where the experiment goes. Needs torch and scikit-learn.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from ml_dash import Experiment
from sklearn.datasets import load_digits
from torch import nn

EPOCHS = 20
BATCH = 64


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def load_data():
    """Training and test pictures (N, 1, 8, 8) with their labels."""
    digits = load_digits()
    pictures = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, test = order[450:], order[:450]
    return pictures[train], labels[train], pictures[test], labels[test]


def train_one_epoch(model, optimizer, pictures, labels) -> float:
    model.train()
    total = 0.0
    for batch in torch.randperm(len(labels)).split(BATCH):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pictures[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(labels)


@torch.no_grad()
def validate(model, pictures, labels) -> float:
    model.eval()
    return (model(pictures).argmax(dim=1) == labels).float().mean().item()


def train(experiment, work: Path) -> float:
    """Returns the best accuracy."""
    train_x, train_y, test_x, test_y = load_data()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    experiment.params.set(optimizer="Adam", lr=2e-3, batch=BATCH, epochs=EPOCHS)

    best_accuracy = 0.0
    for epoch in range(EPOCHS):
        train_loss = train_one_epoch(model, optimizer, train_x, train_y)
        val_accuracy = validate(model, test_x, test_y)

        experiment.metrics("train_loss").append(value=train_loss, epoch=epoch)
        experiment.metrics("val_accuracy").append(value=val_accuracy, epoch=epoch)

        # Every 5 epochs a checkpoint, written while the training goes on: weights and optimizer
        # are copied before the call returns. The end of the run waits for it.
        if (epoch + 1) % 5 == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            experiment.files(
                prefix="/checkpoints", tags=["checkpoint"], metadata={"epoch": epoch + 1}
            ).save_torch(state, f"checkpoint_{epoch + 1}.pth", background=True)

        # The best model: a file of one's own, over and over, saved under one name.
        if val_accuracy > best_accuracy:
            best_accuracy = val_accuracy
            torch.save(model.state_dict(), work / "best_model.pth")
            experiment.files(
                work / "best_model.pth",
                prefix="/models",
                description=f"Best (acc: {best_accuracy:.4f})",
                tags=["best"],
                metadata={"epoch": epoch + 1, "accuracy": best_accuracy},
            ).save()

        print(f"  epoch {epoch + 1:2d}   loss {train_loss:.4f}   accuracy {val_accuracy:.2%}")
    return best_accuracy


def main(root: str = ".ml-dash") -> None:
    torch.manual_seed(0)
    experiment = Experiment(time.strftime("cnn-%Y%m%d-%H%M%S"), "digits", local_path=root)
    with tempfile.TemporaryDirectory() as work:
        with experiment.run:
            best_accuracy = train(experiment, Path(work))

        path = experiment.files("models/best_model.pth").download(to=f"{work}/downloaded.pth")
        model = network()
        model.load_state_dict(torch.load(path))

    torch.manual_seed(0)  # the same split again
    _, _, test_x, test_y = load_data()
    accuracy = validate(model, test_x, test_y)
    assert accuracy == best_accuracy
    print(f"\nthe best model, downloaded and checked: {accuracy:.2%}\n")
    for file in experiment.files().list():
        print(f"  {file['path']}/{file['filename']}  {file['sizeBytes']:,} bytes")
    print(f"\nin {experiment.directory}")


if __name__ == "__main__":
    main(*sys.argv[1:])
