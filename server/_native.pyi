"""The cffi module that the build makes; its functions are declared, with their types, in the .cdef file."""

from typing import Any

ffi: Any
lib: Any
