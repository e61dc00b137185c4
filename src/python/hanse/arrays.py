"""Arrays of other libraries: viewed where they lie on the host, copied where they lie on a device.

Vectors and latents belong to the kernel's own memory, which is the host's, so what lies on a device
crosses once, on the caller's stream, and the call returns when it is there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .reasons import refuse

__all__ = ["DeviceArray", "device_array", "host_array", "stream_handle"]

# The device types of DLPack: CPU and pinned memory, which the host reads; CUDA and managed.
_ON_HOST = (1, 3)
_ON_CUDA = (2, 13)
# The type codes of DLPack: signed, unsigned, float, bfloat (which numpy doesn't have), bool.
_KINDS = {0: "i", 1: "u", 2: "f", 4: "bfloat", 6: "b"}


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """Memory of a CUDA device: C-contiguous. bfloat16 is uint16. owner: keeps it alive.

    after: the stream that its owner's work was queued on, None where the owner was told ours.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read_only: bool
    after: int | None
    owner: Any

    def read(self, stream: int) -> NDArray[Any]:
        """A copy on the host. Raises DeviceError."""
        host = np.empty(self.shape, self.dtype)
        _core.device_read(self.address, host, stream, self.after)
        return host

    def write(self, host: NDArray[Any], stream: int) -> None:
        """Replaced by what is on the host. Raises DeviceError."""
        _core.device_write(self.address, host, stream, self.after)


def stream_handle(stream: Any = None) -> int:
    """A CUDA stream as a number: an int, or what CuPy (ptr) and torch (cuda_stream) have.

    None: the current stream of CuPy, else of torch, where they are in use; else the default one.
    """
    if stream is None:
        stream = _current_stream()
    for name in ("ptr", "cuda_stream"):
        stream = getattr(stream, name, stream)
    if isinstance(stream, bool) or not isinstance(stream, int | np.integer):
        refuse("WrongType", "stream", f"want a CUDA stream, have a {type(stream).__name__}")
    if not 0 <= stream < 1 << 64:
        refuse("OutOfRange", "stream", f"want a handle of 64 bits, have {stream}")
    return int(stream)


def _current_stream() -> Any:
    if (cupy := sys.modules.get("cupy")) is not None:
        return cupy.cuda.get_current_stream()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.current_stream()
    return 0


def host_array(value: Any, field: str, stream: Any = None) -> Any:
    """On the host: numpy as it is, a view of what lies there, a copy of what lies on a device.

    What is no array is left to the check behind. Raises InvalidError, DeviceError (NoDevice where
    there is no device plug-in).
    """
    if isinstance(value, np.ndarray):
        return value
    found = device_array(value, field, stream)
    if found is not None:
        return found.read(stream_handle(stream))
    if not hasattr(value, "__dlpack_device__") or not hasattr(value, "__dlpack__"):
        return value
    if value.__dlpack_device__()[0] not in _ON_HOST:
        refuse("NoDevice", field, "is on a device that is not CUDA's")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        refuse("BadArray", field, f"numpy cannot view it: {error}")


def device_array(value: Any, field: str, stream: Any = None) -> DeviceArray | None:
    """What lies on a CUDA device; None: it doesn't. Raises InvalidError, DeviceError (NoDevice).

    stream: where the caller will work; the owner of a DLPack array orders its work before it.
    """
    if isinstance(value, np.ndarray):
        return None
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        if value.__dlpack_device__()[0] not in _ON_CUDA:
            return None
        _require_device(field)
        return _of_dlpack(value, field, stream_handle(stream))
    if hasattr(value, "__cuda_array_interface__"):
        _require_device(field)
        return _of_interface(value, field)
    return None


def _require_device(field: str) -> None:
    """Before its owner is asked for anything."""
    status = _core.device_status()
    if status.startswith("NoDevice: "):
        refuse("NoDevice", field, status.removeprefix("NoDevice: "))


def _of_dlpack(value: Any, field: str, stream: int) -> DeviceArray:
    # 0 is ambiguous there: 1 is the legacy default stream.
    options = {"stream": stream or 1}
    try:
        try:
            capsule = value.__dlpack__(**options, max_version=(1, 1))
        except TypeError:  # from before version 1
            capsule = value.__dlpack__(**options)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        refuse("BadArray", field, f"its owner doesn't give it: {error}")
    address, shape, strides, code, bits, lanes, _, read_only = _core.dlpack_terms(capsule)
    kind = _KINDS.get(code)
    if kind is None or lanes != 1 or bits % 8:
        refuse("WrongType", field, f"want plain numbers, have type {code} of {bits} bits x {lanes}")
    dtype = np.dtype(np.uint16 if kind == "bfloat" else f"{kind}{bits // 8}")
    _require_contiguous(field, shape, strides)
    return DeviceArray(address, shape, dtype, read_only, None, (value, capsule))


def _of_interface(value: Any, field: str) -> DeviceArray:
    said = value.__cuda_array_interface__
    try:
        version = int(said["version"])
        dtype = np.dtype(said["typestr"])
        shape = tuple(int(size) for size in said["shape"])
        address, read_only = said["data"]
        strides = said.get("strides")
    except (KeyError, TypeError, ValueError) as error:
        refuse("BadArray", field, f"__cuda_array_interface__ lacks or misstates {error}")
    if version < 2 or said.get("mask") is not None or any(size < 0 for size in shape):
        refuse("BadArray", field, "want version 2 or 3 of __cuda_array_interface__, without a mask")
    if dtype.hasobject or dtype.names is not None:
        refuse("WrongType", field, f"want plain numbers, have {dtype}")
    if strides is not None:
        if any(stride % dtype.itemsize for stride in strides):
            refuse("BadArray", field, "want a C-contiguous array")
        strides = tuple(stride // dtype.itemsize for stride in strides)
    _require_contiguous(field, shape, strides)
    after = said.get("stream")
    if after == 0:
        refuse("BadArray", field, "its stream is 0, which the interface doesn't allow")
    return DeviceArray(int(address), shape, dtype, bool(read_only), after, value)


def _require_contiguous(
    field: str, shape: tuple[int, ...], strides: tuple[int, ...] | None
) -> None:
    if strides is None or prod(shape) == 0:
        return
    wanted = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != wanted:
            refuse("BadArray", field, "want a C-contiguous array")
        wanted *= size
