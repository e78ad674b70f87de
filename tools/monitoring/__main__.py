"""Write what is generated of the metrics: `make monitoring`."""

from tools.monitoring.generated import generated


def main() -> None:
    """Write every file."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


main()
