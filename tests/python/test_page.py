"""Every block of the page that users read, run as it is written there."""

from __future__ import annotations

import hashlib
import os

import pytest


def write(name: str, size: int = 1000) -> bytes:
    data = os.urandom(size)
    with open(name, "wb") as stream:
        stream.write(data)
    return data


def test_basic_upload(experiment, capsys):
    data = write("model.pth")

    result = experiment.files("model.pth", prefix="/models").save()

    print(f"Uploaded: {result['filename']}")
    print(f"Size: {result['sizeBytes']} bytes")
    print(f"Checksum: {result['checksum']}")

    assert capsys.readouterr().out.splitlines() == [
        "Uploaded: model.pth",
        "Size: 1000 bytes",
        f"Checksum: {hashlib.sha256(data).hexdigest()}",
    ]


def test_flat_file_object(experiment):
    write("model.pth")
    result = experiment.files("model.pth", prefix="/models").save()
    keys = "id experimentId path filename description tags bindrs contentType sizeBytes checksum"
    keys += " metadata uploadedAt updatedAt deletedAt"
    assert list(result)[:14] == keys.split()
    assert result["experimentId"] == "digits/baseline"
    assert result["path"] == "/models"
    assert result["description"] is None
    assert result["tags"] == []
    assert result["metadata"] is None
    assert result["deletedAt"] is None
    assert result["uploadedAt"].endswith("Z")
    assert isinstance(result["id"], str)
    assert isinstance(result["sizeBytes"], int)


def test_organizing_files_with_prefixes(experiment, stored_files):
    for name in ("model.pth", "best_model.pth", "loss_curve.png", "config.json"):
        write(name)

    # Models
    experiment.files("model.pth", prefix="/models").save()
    experiment.files("best_model.pth", prefix="/models/checkpoints").save()

    # Visualizations
    experiment.files("loss_curve.png", prefix="/visualizations").save()

    # Configuration
    experiment.files("config.json", prefix="/config").save()

    found = {(f["path"], f["filename"]): f for f in experiment.files().list()}
    assert set(found) == {
        ("/models", "model.pth"),
        ("/models/checkpoints", "best_model.pth"),
        ("/visualizations", "loss_curve.png"),
        ("/config", "config.json"),
    }
    # The page's storage structure: files/{prefix}/{id}/{filename}
    model = found["/models", "model.pth"]
    assert f"models/{model['id']}/model.pth" in stored_files(experiment)


def test_file_metadata(experiment):
    write("best_model.pth")

    experiment.files(
        "best_model.pth",
        prefix="/models",
        description="Best model from epoch 50",
        tags=["checkpoint", "best"],
        metadata={"epoch": 50, "val_accuracy": 0.95},
    ).save()

    (file,) = experiment.files().list()
    assert file["description"] == "Best model from epoch 50"
    assert file["tags"] == ["checkpoint", "best"]
    assert file["metadata"] == {"epoch": 50, "val_accuracy": 0.95}


def test_downloading_files(experiment):
    data = write("model.pth")

    # Upload first
    upload_result = experiment.files("model.pth", prefix="/models").save()
    file_id = upload_result["id"]
    os.remove("model.pth")

    # Download to specific path
    downloaded = experiment.files(
        file_id=file_id,
        dest_path="./downloaded_model.pth",
    ).download()
    assert os.path.samefile(downloaded, "downloaded_model.pth")
    with open("downloaded_model.pth", "rb") as stream:
        assert stream.read() == data

    # Download with original filename
    downloaded = experiment.files(file_id=file_id).download()
    assert os.path.samefile(downloaded, "model.pth")
    with open("model.pth", "rb") as stream:
        assert stream.read() == data


def test_list_and_download(experiment, capsys):
    write("a.pth", 10)
    write("b.pth", 20)
    experiment.files("a.pth", prefix="/models").save()
    experiment.files("b.pth", prefix="/models", tags=["best"]).save()

    files = experiment.files().list()

    for f in files:
        print(f"File: {f['filename']}, Path: {f['path']}, Size: {f['sizeBytes']}")

    # Download specific file
    best = next((f for f in files if "best" in f.get("tags", [])), None)
    if best:
        experiment.files(file_id=best["id"], dest_path="./best.pth").download()

    assert capsys.readouterr().out.splitlines() == [
        "File: a.pth, Path: /models, Size: 10",
        "File: b.pth, Path: /models, Size: 20",
    ]
    assert os.path.getsize("best.pth") == 20


def test_saving_matplotlib_figures(experiment):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.plot([0.5, 0.4, 0.3, 0.2])
    plt.title("Training Loss")

    # save_fig auto-closes figure
    experiment.files(prefix="/visualizations").save_fig("loss_curve.png")
    assert plt.get_fignums() == []

    plt.plot([1, 2])
    # With custom options
    experiment.files(prefix="/visualizations").save_fig(
        "plot.pdf",
        dpi=150,
        transparent=True,
        bbox_inches="tight",
    )

    png, pdf = experiment.files().list()
    assert (png["path"], png["filename"]) == ("/visualizations", "loss_curve.png")
    assert png["contentType"] == "image/png"
    assert experiment.files.read_bytes("visualizations/loss_curve.png").startswith(b"\x89PNG")
    assert experiment.files.read_bytes("visualizations/plot.pdf").startswith(b"%PDF")
    assert pdf["contentType"] == "application/pdf"


def test_saving_videos(experiment):
    np = pytest.importorskip("numpy")
    av = pytest.importorskip("av")

    # Generate frames (list of arrays or stacked array)
    frames = [np.random.rand(48, 64, 3) for _ in range(30)]

    # Save as MP4 (default 20 FPS)
    experiment.files(prefix="/videos").save_video(frames, "animation.mp4")
    rate = _rate(av, experiment.files("videos/animation.mp4").download(to="a.mp4"))
    assert rate == (20, 30)

    # Custom FPS
    experiment.files(prefix="/videos").save_video(frames, "animation.mp4", fps=30)
    rate = _rate(av, experiment.files("videos/animation.mp4").download(to="b.mp4"))
    assert rate == (30, 30)

    # Save as GIF
    pytest.importorskip("PIL")
    experiment.files(prefix="/videos").save_video(frames, "animation.gif")
    assert experiment.files.read_bytes("videos/animation.gif").startswith(b"GIF8")


def _rate(av, path) -> tuple[int, int]:
    with av.open(path) as video:
        stream = video.streams.video[0]
        return round(stream.average_rate), sum(1 for _ in video.decode(stream))


def test_saving_pytorch_models(run_python):
    pytest.importorskip("torch")
    run_python(
        """
        import torch
        model = torch.nn.Linear(3, 2)
        # Using the singleton
        from ml_dash import dxp

        dxp.files.save_torch(model, "model.pt")
        dxp.files.save_torch(model.state_dict(), "model_state.pt")

        state = torch.load(dxp.files("model_state.pt").download(to="s.pt"), weights_only=True)
        assert torch.equal(state["weight"], model.weight)
        """
    )


def test_training_checkpoint_pattern(experiment):
    """The page's loop; torch.save is stood in for where torch is missing."""
    saved = []

    class torch:
        @staticmethod
        def save(state, name):
            saved.append(name)
            with open(name, "wb") as stream:
                stream.write(repr(state).encode())

    class model:
        @staticmethod
        def state_dict():
            return {"step": len(saved)}

    def train_one_epoch(model):
        return 1.0 / (1 + len(saved))

    accuracies = iter([0.5, 0.4, 0.6, 0.6, 0.7, 0.1, 0.2, 0.3, 0.4, 0.5] * 10)

    def validate(model):
        return next(accuracies)

    best_accuracy = 0.0

    for epoch in range(100):
        train_loss = train_one_epoch(model)
        val_accuracy = validate(model)

        experiment.metrics("train_loss").append(value=train_loss, epoch=epoch)
        experiment.metrics("val_accuracy").append(value=val_accuracy, epoch=epoch)

        # Save checkpoint every 10 epochs
        if (epoch + 1) % 10 == 0:
            torch.save(model.state_dict(), f"checkpoint_{epoch + 1}.pth")
            experiment.files(
                f"checkpoint_{epoch + 1}.pth",
                prefix="/checkpoints",
                tags=["checkpoint"],
                metadata={"epoch": epoch + 1},
            ).save()

        # Save best model
        if val_accuracy > best_accuracy:
            best_accuracy = val_accuracy
            torch.save(model.state_dict(), "best_model.pth")
            experiment.files(
                "best_model.pth",
                prefix="/models",
                description=f"Best (acc: {best_accuracy:.4f})",
                tags=["best"],
                metadata={"epoch": epoch + 1, "accuracy": best_accuracy},
            ).save()

    assert experiment.metrics("train_loss").stats()["totalDataPoints"] == "100"
    checkpoints = experiment.files(prefix="/checkpoints").list()
    assert [f["metadata"]["epoch"] for f in checkpoints] == list(range(10, 101, 10))
    (best,) = experiment.files(tags=["best"]).list()
    assert best["metadata"] == {"epoch": 5, "accuracy": 0.7}
    assert best["description"] == "Best (acc: 0.7000)"
    with open("best_model.pth", "rb") as stream:
        assert experiment.files.read_bytes("/models/best_model.pth") == stream.read()
