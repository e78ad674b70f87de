"""Which errors make a GPU sick, and which are a program's own fault.

Codes and what to do about them are those of NVIDIA's Xid catalog, column "Immediate Action"
(docs.nvidia.com/deploy/xid-errors, "Analyzing Xid Errors with the Xid Catalog").
"""

from kneescale.agent.gpu_library import Faults, Version

GPU_LOST = "GpuLost"
ECC_ERROR = "EccError"
ROW_REMAP_FAILURE = "RowRemapFailure"
RECOVERY_NEEDED = "RecoveryNeeded"
XID_ERROR = "XidError"

#: From this compute capability on (Ampere), errors are contained and bad pages taken out while programs run:
#: "GPU Memory Error Management", docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt.
_CONTAINS_ERRORS = Version(8, 0)

#: RESTART_APP and IGNORE: the GPU itself goes on. Whoever caused one restarts, which MPS and kubelet see to.
_HARMLESS_XIDS = frozenset(
    {
        8,  # GPU stopped processing
        11,  # invalid or corrupted push buffer stream
        13,  # graphics engine exception: mostly an access out of bounds
        31,  # memory page fault
        32,  # push buffer error
        37,  # unknown method of the context-switch firmware
        38,  # its watchdog
        43,  # a program's channel was reset
        44,  # fault during a context switch
        45,  # a program's channels are removed: it ended, or another Xid came before
        60,  # security engine
        63,  # a page was retired or a row remapped: recorded
        66,  # register access of a program refused
        67,
        68,  # video decoder; so are others below
        69,  # graphics class error
        80,  # push buffer checksum
        86,  # optical flow; so is 139
        92,  # many corrected ECC errors
        93,  # the board's record is nearly worn out
        94,  # uncorrected ECC error, contained in one program
        *(106, 107),  # test messages
        *(108, 121, 137, 141),  # NVLink and C2C notices
        139,
        154,  # the recovery action changed: Faults.recovery_needed says to what
        *range(39, 42),  # copy engines
        *range(70, 73),
        *range(75, 78),
        85,
        *range(126, 136),
        *(82, 83, 84, 88, 89),  # image and video decoders
        *range(96, 106),
    }
)
#: 79: fallen off the bus. The GPU is gone until the node restarts.
_GONE_XID = 79
#: 48: an ECC error that could not be corrected. 64: its row or page could not be taken out. 95: it was not
#: contained. 140: it escaped.
_ECC_XIDS = frozenset({48, 64, 95, 140})


def sickness_of_xid(xid: int, compute_capability: Version) -> str:
    """Why a GPU that reported `xid` may not be used; empty when it may.

    An unknown Xid makes it sick: the driver reports only critical ones, and most others ask for a reset.
    After 48, Ampere and newer say with 94 or 95 whether it was contained, so it alone is nothing there.
    """
    if xid in _HARMLESS_XIDS or (xid == 48 and compute_capability >= _CONTAINS_ERRORS):
        return ""
    if xid == _GONE_XID:
        return GPU_LOST
    return ECC_ERROR if xid in _ECC_XIDS else XID_ERROR


def sickness_of_faults(faults: Faults, compute_capability: Version) -> str:
    """Why a GPU with these faults may not be used; empty when it may.

    A row that waits to be remapped is no fault: "unaffected applications can continue running" (GPU Memory
    Error Management). Before Ampere a bad page stays in use until the driver is loaded again (Dynamic Page
    Retirement).
    """
    if faults.recovery_needed:
        return RECOVERY_NEEDED
    if faults.row_remap_failed:
        return ROW_REMAP_FAILURE
    if compute_capability < _CONTAINS_ERRORS and (
        faults.uncorrected_ecc_errors or faults.retired_pages_pending
    ):
        return ECC_ERROR
    return ""
