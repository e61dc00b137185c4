"""The emulated device from Python: its memory and streams, and arrays there as other libraries
would hand them over. Device memory of the emulator is host memory that only it may touch."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

BUILD = Path(os.environ.get("HANSE_SIMT_BUILD", Path(__file__).resolve().parents[2] / "build/dev"))
PLUGIN = (BUILD / "libhanse_emulated.so").resolve()

NAMES = (
    "error_name", "device_count", "device_text", "allocate", "release", "copy_to_device",
    "copy_from_device", "synchronize", "stream_create", "stream_destroy", "stream_after",
)  # fmt: skip


class _Table(ctypes.Structure):
    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("size_bytes", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in NAMES),
    ]


class Device:
    """The plug-in's own table, called past hanse."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(PLUGIN))
        self._library.hanse_device_table.restype = ctypes.POINTER(_Table)
        self._table = self._library.hanse_device_table().contents

    def _call(self, name: str, *values: Any) -> None:
        types = [
            ctypes.c_uint64 if isinstance(value, ctypes.c_uint64) else ctypes.c_void_p
            for value in values
        ]
        function = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(getattr(self._table, name))
        assert function(*values) == 0, name

    def put(self, array: np.ndarray[Any, Any], stream: int | None = None) -> int:
        """Its address; the copy is queued on the stream, and runs when somebody waits."""
        memory = ctypes.c_void_p()
        self._call("allocate", ctypes.c_uint64(max(array.nbytes, 1)), ctypes.addressof(memory))
        assert memory.value is not None
        self._call("copy_to_device", memory.value, array.ctypes.data,
                   ctypes.c_uint64(array.nbytes), stream)  # fmt: skip
        if stream is None:
            self._call("synchronize", None)
        return memory.value

    def get(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """What is there."""
        out = np.empty(shape, dtype)
        self._call("copy_from_device", out.ctypes.data, address, ctypes.c_uint64(out.nbytes), None)
        self._call("synchronize", None)
        return out

    def stream(self) -> int:
        """A new one."""
        handle = ctypes.c_void_p()
        self._call("stream_create", ctypes.addressof(handle))
        assert handle.value is not None
        return handle.value

    def fail_after(self, calls: int) -> None:
        """The call of CUDA after so many more fails, and all behind it; -1: none."""
        self._library.hanse_emulated_fail_after(ctypes.c_int64(calls))


class Interface:
    """An array with __cuda_array_interface__, as numba and CuPy have."""

    def __init__(self, device: Device, array: np.ndarray[Any, Any], **said: Any) -> None:
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (device.put(array, said.get("stream")), False),
            "strides": None,
            "stream": None,
            **said,
        }
        self.shape = array.shape

    @property
    def address(self) -> int:
        return int(self.__cuda_array_interface__["data"][0])


class _DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("dimensions", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64), ("owner", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    ]  # fmt: skip


class Dlpack:
    """An array with DLPack, as torch has: from before version 1, so without max_version."""

    def __init__(self, device: Device, array: np.ndarray[Any, Any], code: int | None = None,
                 strides: tuple[int, ...] | None = None) -> None:  # fmt: skip
        self.shape = array.shape
        self.streams: list[int | None] = []
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self._strides = None if strides is None else (ctypes.c_int64 * array.ndim)(*strides)
        self.address = device.put(array)
        self._tensor = _DlTensor(
            self.address, 2, 0, array.ndim,
            {"i": 0, "u": 1, "f": 2}[array.dtype.kind] if code is None else code,
            array.itemsize * 8, 1, ctypes.addressof(self._shape),
            None if self._strides is None else ctypes.addressof(self._strides), 0, None, None,
        )  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.streams.append(stream)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self._tensor), b"dltensor", None)
