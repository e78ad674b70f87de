"""Recorded speech for the voice detector: Debian's alsa-utils carries a woman saying "front center"."""

from pathlib import Path

from harness import cache
from harness.runner import CommandError, Runner

PACKAGE = "alsa-utils"
RECORDING = Path("usr/share/sounds/alsa/Front_Center.wav")


def recording(runner: Runner) -> Path:
    """Return a WAV file of speech, unpacked from the Debian package (which is not installed) if need be.

    Raises CommandError if the package cannot be fetched.
    """
    unpacked = cache.made_once(cache.home() / "speech", lambda folder: _fetch(folder, runner))
    return unpacked / RECORDING


def _fetch(folder: Path, runner: Runner) -> None:
    folder.mkdir(parents=True)
    try:
        runner.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder)
    except CommandError:  # a fresh machine has no package lists yet
        runner.run(["apt-get", "update", "-qq"])
        runner.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder)
    (package,) = folder.glob("*.deb")
    runner.run(["dpkg", "-x", str(package), str(folder)])
    package.unlink()
