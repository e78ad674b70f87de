"""What a profile says before anything is measured: a prediction where there is a basis for one."""

from math import ceil

from kneescale.api.model_profile import ModelProfileSpec, ProfilePoint, ProfileSource
from kneescale.core.backends import ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import SCHEME, lookup
from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import PERCENT, US_PER_MS
from kneescale.plan.needs import Need


def first_profile(need: Need) -> ModelProfileSpec:
    """A prediction, or else a profile without points, for its progress to be seen."""
    source, subject = need.model.spec.model, need.subject
    points, error_percent = _predict(need)
    return ModelProfileSpec(
        model_uri=source.uri,
        format=subject.format,
        product_name=subject.product_name,
        backend=subject.backend,
        points=points,
        source=ProfileSource.PREDICTED if points else ProfileSource.PENDING,
        expected_error_percent=error_percent,
    )


def _predict(need: Need) -> tuple[tuple[ProfilePoint, ...], int | None]:
    """The predicted points and their error; none where nothing is known of the model on that product."""
    spec, subject = need.model.spec, need.subject
    if subject.format is not ModelFormat.EMULATED:
        return (), None
    try:
        figures = lookup(spec.model.uri.removeprefix(SCHEME), subject.product_name)
    except InvalidInputError:
        return (), None
    points = tuple(
        ProfilePoint(lane, batch, max(1, round(US_PER_MS * figures.latency_ms(lane, batch))))
        for lane in need.devices[0].lanes
        for batch in doubling_batches(spec.max_batch)
    )
    return points, ceil(PERCENT * figures.p90_error)
