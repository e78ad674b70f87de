"""How the models of a published set spread: what a fit expects of a model before it is measured.

The mean and the covariance are printed by tools/fit_prior.py from RaPP (GitHub: KontonGu/RaPP, commit
600348c1, Apache-2.0): 69 vision models, PyTorch eager under MPS on a V100. The other eight numbers were
searched for on that set and rounded; little hangs on them: with any one halved or doubled, the held-out error
goes from 3.2 % to 3.5 % at the median and from 10.6 % to 12.0 % at the 90th percentile, at worst.
"""

from kneescale.core.latency_model import Deviation, Prior

POPULATION = Prior(
    log_mean=(2.77, -1.20, 3.00, 4.17),
    log_covariance=(
        (0.61, 0.05, 0.05, 0.28),
        (0.05, 1.51, 0.46, 1.32),
        (0.05, 0.46, 1.16, 0.58),
        (0.28, 1.32, 0.58, 2.13),
    ),
    sharpness=4,
    noise=0.04,
    host=Deviation(spread=0.13, gpu_percent_scale=80, batch_scale=8, logarithmic=False),
    gpu=Deviation(spread=0.14, gpu_percent_scale=2, batch_scale=5, logarithmic=True),
)
