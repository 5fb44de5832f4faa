"""Write the C source of one cffi extension module: emit_cffi.py MODULE FILE.cdef OUTPUT.c

A .cdef file holds plain C declarations. Its `#include` lines go into the C source, the rest to `FFI.cdef`.
"""

import sys
from pathlib import Path

from cffi import FFI


def main(module: str, cdef: str, output: str) -> None:
    lines = Path(cdef).read_text(encoding="utf-8").splitlines()
    ffi = FFI()
    # An include leaves an empty line behind, so that cffi's messages name the right line.
    ffi.cdef("\n".join("" if line.startswith("#include") else line for line in lines))
    ffi.set_source(module, "\n".join(line for line in lines if line.startswith("#include")))
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
