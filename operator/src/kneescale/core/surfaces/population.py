"""How the models of a published set spread: what a fit expects of a model before it is measured.

The mean and the covariance are printed by tools/fit_prior.py from RaPP (GitHub: KontonGu/RaPP, commit
600348c1, Apache-2.0): 69 vision models, PyTorch eager under MPS on a V100. The other eight numbers were
searched for on that set and rounded; little hangs on them: with any one halved or doubled, the held-out error
goes from 3.2 % to 3.5 % at the median and from 10.7 % to 12.1 % at the 90th percentile, at worst.
"""

from kneescale.core.surfaces.latency_model import Deviation, Prior

POPULATION = Prior(
    log_mean=(2.77, -1.20, 3.00, 4.17),
    log_covariance=(
        (4.61, 4.05, 4.05, 4.28),
        (4.05, 5.51, 4.46, 5.32),
        (4.05, 4.46, 5.16, 4.58),
        (4.28, 5.32, 4.58, 6.13),
    ),
    sharpness=4,
    noise=0.04,
    host=Deviation(spread=0.13, gpu_percent_scale=80, batch_scale=8, logarithmic=False),
    gpu=Deviation(spread=0.14, gpu_percent_scale=2, batch_scale=5, logarithmic=True),
)
