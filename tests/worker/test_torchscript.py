"""What an admin is told of a model that fails, out of what TorchScript says."""

import pytest

from kneescale_worker.torchscript import one_line

_CALLED = """  File "model.py", line 9, in forward
    def forward(self, x):
        y = self.block(x)
            ~~~~~~~~~~~~~ <--- HERE
        return y
"""
_RAISED = """  File "block.py", line 4, in forward
    def forward(self, x):
        assert x.shape[0] > 100
        ~~~~~~~~~~~~~~~~~~~~~~~ <--- HERE
        return x @ self.weights
"""


def _said(message: str) -> RuntimeError:
    """As torch 2.15 has it, for a block that a model calls."""
    return RuntimeError(
        "The following operation failed in the TorchScript interpreter.\n"
        f"Traceback of TorchScript (most recent call last):\n{_CALLED}{_RAISED}{message}\n"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("shapes cannot be multiplied\nsee above"), "shapes cannot be multiplied"),
        (RuntimeError(""), "RuntimeError"),
        (
            RuntimeError("The following operation failed in the TorchScript interpreter.\nno trace"),
            "no trace",
        ),
        (_said("RuntimeError: shapes cannot be multiplied"), "RuntimeError: shapes cannot be multiplied"),
        (
            _said("RuntimeError: CUDA error: out of memory\nCompile with"),
            "RuntimeError: CUDA error: out of memory",
        ),
        (_said("RuntimeError: AssertionError: "), "RuntimeError: AssertionError: assert x.shape[0] > 100"),
    ],
)
def test_the_line_that_tells(error: Exception, line: str) -> None:
    assert one_line(error) == line
